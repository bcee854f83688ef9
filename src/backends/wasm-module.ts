// The WASM modules themselves: what they export, and how one that imports a shared memory is made to import one that is not.

/** native/wasm/door.cc. Addresses, executors and tasks are numbers; 0 is none. */
export interface DoorExports {
  readonly __stack_pointer: WebAssembly.Global;
  __wasm_call_ctors(): void;
  malloc(bytes: number): number;
  free(at: number): void;
  abi_hash(): number;
  probe(isa: number): number;
  thread_run(entry: number): void;
  create(isa: number, threads: number, access: number, length: number, ids: number): number;
  pump(executor: number): number;
  allocate(executor: number, dtype: number, elements: number): number;
  allocate_weight(executor: number, dtype: number, rows: number, columns: number, group: number): number;
  free_buffer(executor: number, id: number): void;
  write(executor: number, id: number, offset: number, data: number, bytes: number): number;
  read(executor: number, id: number, offset: number, to: number, bytes: number): number;
  upload(
    executor: number,
    id: number,
    part: number,
    kind: number,
    row: number,
    rows: number,
    data: number,
    path: number,
    offset: number,
  ): number;
  compile(executor: number, words: number, count: number, arenaBytes: number, params: number): number;
  compile_message(): number;
  forget(executor: number, executable: number): void;
  submit(executor: number, executable: number, params: number, count: number): number;
  cancel(task: number): void;
  measure(executor: number, threads: number): number;
  memory_bytes(executor: number): number;
  close(executor: number): number;
  result(executor: number, task: number, out: number): void;
  drop(task: number): void;
}

const importSection = 2;
const [functionKind, memoryKind, globalKind] = [0, 2, 3];
const sharedFlag = 2;

/** The same module with an import of unshared memory, which differs in one flag; it runs at full speed. */
export function unshared(wasm: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(wasm);
  let at = 8;
  const number = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = out[at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value >>> 0;
    }
  };
  const skipName = (): void => {
    const length = number();
    at += length;
  };
  while (at < out.length) {
    const id = out[at++];
    const end = number() + at;
    if (id !== importSection) {
      at = end;
      continue;
    }
    for (let count = number(); count > 0; count--) {
      skipName();
      skipName();
      const kind = out[at++];
      if (kind === functionKind) number();
      else if (kind === globalKind) at += 2;
      else if (kind === memoryKind) {
        out[at] &= ~sharedFlag;
        return out;
      } else throw new Error(`a WASM module with an import of kind ${kind}`);
    }
  }
  throw new Error('a WASM module that imports no memory');
}
