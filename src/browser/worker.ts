// The worker that a page's models live in; see session.ts. Bundled into one file, so that any static server can serve it.

import { chooseBackend } from './choose.js';
import type { Port } from './messages.js';
import { serveSession } from './session.js';

serveSession(globalThis as unknown as Port, chooseBackend);
