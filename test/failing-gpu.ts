// A GPU for tests that is a CPU backend, and fails when it is told to.

import type { Backend, ExecutionCode } from '../src/tensor/backend.js';
import { ExecutionError } from '../src/tensor/execution.js';

/** What fails from now on, how often it was disposed of. */
export const failures: { uploads?: ExecutionCode; runs?: ExecutionCode; disposed: number } = { disposed: 0 };

export function failingGpu(backend: Backend): Backend {
  const error = (code: ExecutionCode, op: 'upload' | 'linear'): ExecutionError => new ExecutionError({ opIndex: 3, op, code });
  const gpu: Partial<Backend> = {
    name: 'webgpu',
    description: 'webgpu, a test',
    upload: (...given) => (failures.uploads ? Promise.reject(error(failures.uploads, 'upload')) : backend.upload(...given)),
    submit(...given) {
      const submission = backend.submit(...given);
      if (!failures.runs) return submission;
      submission.done.catch(() => {});
      const done = Promise.reject(error(failures.runs, 'linear'));
      done.catch(() => {});
      return { ...submission, done };
    },
    dispose: () => {
      failures.disposed++;
      return backend.dispose();
    },
  };
  return new Proxy(backend, {
    get(target, key) {
      if (key in gpu) return gpu[key as keyof Backend];
      const value: unknown = target[key as keyof Backend];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
