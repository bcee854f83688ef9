/* A wire between two network namespaces, in user space as not every kernel has netem: a TUN device in each, and packets that leave one
 * at a rate and arrive at the other after a delay; what a queue of a tenth of a second (a router's) does not hold is dropped. Run as root:
 *   wire NAMESPACE DEVICE NAMESPACE DEVICE BITS_PER_SECOND SECONDS_OF_DELAY
 * It makes the devices, says `ready` and forwards until it is killed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { packetBytes = 2048, places = 1 << 14 };
struct packet { int64_t due; int length; char bytes[packetBytes]; };
/* What travels one way: a ring, in the order in which it arrives. */
struct way { int from, to; struct packet *ring; unsigned first, last; int64_t free; };

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void must(int code, const char *what) {
  if (code < 0) { perror(what); exit(1); }
}

static int device(const char *space, const char *name) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", space);
  int at = open(path, O_RDONLY | O_CLOEXEC);
  must(at, path);
  must(setns(at, CLONE_NEWNET), "setns");
  close(at);
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  must(tun, "/dev/net/tun");
  struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
  snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
  must(ioctl(tun, TUNSETIFF, &request), name);
  return tun;
}

int main(int argc, char **argv) {
  if (argc != 7) { fprintf(stderr, "usage: wire NAMESPACE DEVICE NAMESPACE DEVICE BITS_PER_SECOND SECONDS_OF_DELAY\n"); return 2; }
  const double nanosecondsPerByte = 8e9 / atof(argv[5]);
  const int64_t delay = (int64_t)(atof(argv[6]) * 1e9), longest = 100000000;
  const int a = device(argv[1], argv[2]), b = device(argv[3], argv[4]);
  struct way ways[2] = { { .from = a, .to = b }, { .from = b, .to = a } };
  for (int w = 0; w < 2; w++) if (!(ways[w].ring = calloc(places, sizeof(struct packet)))) return 1;
  puts("ready");
  fflush(stdout);
  for (;;) {
    int64_t next = INT64_MAX;
    for (int w = 0; w < 2; w++) {
      struct way *way = &ways[w];
      for (;;) {
        struct packet *packet = &way->ring[way->last % places];
        const int length = way->last - way->first < places ? read(way->from, packet->bytes, packetBytes) : -1;
        if (length <= 0) break;
        const int64_t time = now(), begins = way->free > time ? way->free : time;
        if (begins - time > longest) continue; /* dropped */
        way->free = begins + (int64_t)(length * nanosecondsPerByte);
        packet->length = length;
        packet->due = way->free + delay;
        way->last++;
      }
      for (; way->first != way->last; way->first++) {
        struct packet *packet = &way->ring[way->first % places];
        if (packet->due > now()) { if (packet->due < next) next = packet->due; break; }
        if (write(way->to, packet->bytes, packet->length) < 0) { /* nobody listens: lost, as on a wire */ }
      }
    }
    struct pollfd wanted[2] = { { a, POLLIN, 0 }, { b, POLLIN, 0 } };
    const int64_t wait = next == INT64_MAX ? 1000000000 : next - now();
    struct timespec limit = { wait > 0 ? wait / 1000000000 : 0, wait > 0 ? wait % 1000000000 : 0 };
    ppoll(wanted, 2, &limit, NULL);
  }
}
