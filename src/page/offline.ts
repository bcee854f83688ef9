// What makes the page of `openelm web` an app of its own: its manifest, and the service worker that keeps it for when there is no network
// and isolates it where its host cannot. The page of `openelm serve` has neither: without its server it could do nothing.

const told = 'openelm.isolating';

/**
 * Once the worker has the page it is loaded anew, if only that gives it threads and nobody has touched it yet; once in a tab. Else the worker
 * comes when the page is `ready`: what it keeps would take the network from the first model.
 */
export async function keepPage(ready: Promise<unknown>): Promise<void> {
  const manifest = document.createElement('link');
  Object.assign(manifest, { rel: 'manifest', href: 'manifest.webmanifest' });
  document.head.append(manifest);
  const workers = navigator.serviceWorker as ServiceWorkerContainer | undefined; // https and this machine only
  if (!workers) return;
  try {
    if (crossOriginIsolated && !workers.controller) await ready;
    await workers.register('service-worker.js', { updateViaCache: 'none' });
    if (crossOriginIsolated || sessionStorage.getItem(told)) return;
    await workers.ready;
    if (navigator.userActivation?.hasBeenActive) return;
    sessionStorage.setItem(told, 'yes');
    location.reload();
  } catch {} // a browser that keeps nothing: the page is as good as its host makes it
}
