// Starting workers by their address, or of a text (a Blob's), also where a page demands Trusted Types: the policy is called `openelm`, and
// the scripts are this package's own. What they do is whoever's that starts them; Node's are node:worker_threads'.

interface ScriptPolicy {
  createScriptURL(url: string): string;
}
type Factory = { createPolicy(name: string, rules: ScriptPolicy): ScriptPolicy };

let policy: ScriptPolicy | undefined;

/** Throws as `Worker` does. */
export function workerAt(url: string | URL, options?: WorkerOptions): Worker {
  try {
    policy ??= (globalThis as { trustedTypes?: Factory }).trustedTypes?.createPolicy('openelm', {
      createScriptURL: (text) => text,
    });
  } catch {
    // A page that names its policies has no such one: it may have a default policy, or not demand them of workers.
  }
  return new Worker(policy?.createScriptURL(`${url}`) ?? url, options);
}

/** A worker that runs a text, and what ends it. Throws as `Worker` does. */
export function workerOf(text: string, options?: WorkerOptions): { readonly worker: Worker; end(): void } {
  const url = URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
  const worker = workerAt(url, options);
  return {
    worker,
    end() {
      worker.terminate();
      URL.revokeObjectURL(url);
    },
  };
}
