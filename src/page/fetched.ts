// What the page asks of the server that it came from, and what there is to say where that is away or sends something else.

const away = 'the network, or the server of this page, is away';

/** As `fetch`; throws `Error` with one sentence, or the signal's reason. */
export async function fetched(path: string | URL, init: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Error(`${away}: try again when it is back`);
  }
}

/** A file of the server's, and not the page that some servers send in a file's place. */
export async function fetchedFile(path: string | URL): Promise<Response> {
  const response = await fetched(path);
  const name = String(path).replace(/.*\//, '');
  if (!response.ok) throw new Error(`${name} of this page cannot be had (${response.status}): load the page again`);
  if (isPage(response)) throw new Error(`${inPlaceOf(name)}: load the page again`);
  return response;
}

/** Throws where it is something else. */
export async function jsonOf<T>(response: Response): Promise<T> {
  try {
    return (await response.json()) as T;
  } catch {
    const came = isPage(response) ? inPlaceOf('what was asked') : 'what the server sent was broken off, or is no JSON';
    throw new Error(`${came}: try again, or load the page again`);
  }
}

export function isPage(response: Response): boolean {
  return /^text\/html/.test(response.headers.get('content-type') ?? '');
}

function inPlaceOf(what: string): string {
  return `the server sends a page in place of ${what} (a network that wants a login first does that)`;
}

/** What a module of the page exports: `load` imports it. */
export async function imported<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    // A module that is broken is a defect, and tells of itself.
    if (error instanceof TypeError && /import|module|fetch/i.test(error.message))
      throw new Error(`its code cannot be fetched, as ${away}: load the page again when it is back`);
    throw error;
  }
}
