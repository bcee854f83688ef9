// A server's port on this machine: taken, or refused in one sentence that says what to do. What is served is the verbs'.

import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { InputError } from '../errors.js';

/** Listens, and returns the address; `port` 0 takes a free one. Throws `InputError` where that cannot be. */
export async function listen(server: Server, host: string, port: number): Promise<string> {
  await new Promise<void>((listening, failed) => {
    server.once('error', (error: NodeJS.ErrnoException) => failed(new InputError(whyNot(error, host, port))));
    server.listen(port, host, listening);
  });
  return `http://${bracketed(host)}:${(server.address() as AddressInfo).port}/`;
}

/** As an address has it. */
export function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

function whyNot({ code, message }: NodeJS.ErrnoException, host: string, port: number): string {
  if (code === 'EADDRINUSE') return `port ${port} of ${host} is in use, perhaps by another openelm: choose another with --port`;
  if (code === 'EACCES') return `port ${port} needs rights that this user does not have: choose one above 1023 with --port`;
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return `${host} is no address of this machine: choose another with --host`;
  return `port ${port} of ${host} cannot be listened on: ${message}`;
}
