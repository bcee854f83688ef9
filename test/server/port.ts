// A handler on a port of its own, for clients that need one.

import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { Handler } from '../../src/server.js';

export interface Port {
  readonly url: string;
  close(): Promise<void>;
}

/** Serves until `close`, which stops the handler too. */
export async function listen(handler: Handler, port = 0): Promise<Port> {
  const server = createAdaptorServer({ fetch: (request) => handler.fetch(request), overrideGlobalObjects: false }) as Server;
  await new Promise<void>((listening) => server.listen(port, '127.0.0.1', listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      const closed = new Promise((done) => server.close(done));
      await handler.stop();
      server.closeAllConnections();
      await closed;
    },
  };
}
