// The yardstick of allreduce.ts: the same calls from C. mpicc -O2 allreduce.c -o allreduce && mpirun -n 2 ./allreduce [ELEMENTS...]
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  int provided, rank, size;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const int elements[] = {1, 1000, 250000, 2500000, 25000000};
  for (int k = 0; k < 5; k++) {
    int asked = argc == 1;
    for (int i = 1; i < argc; i++) asked |= atoi(argv[i]) == elements[k];
    if (!asked) continue;
    float* x = calloc((size_t)elements[k], sizeof(float));
    const int rounds = elements[k] > 100000 ? 10 : 100;
    double best = 1e9;
    for (int i = 0; i < rounds; i++) {
      MPI_Barrier(MPI_COMM_WORLD);
      const double began = MPI_Wtime();
      MPI_Allreduce(MPI_IN_PLACE, x, elements[k], MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
      const double took = MPI_Wtime() - began;
      if (took < best) best = took;
    }
    if (rank == 0) printf("%10d bytes  %9.3f ms\n", 4 * elements[k], 1e3 * best);
    free(x);
  }
  MPI_Finalize();
}
