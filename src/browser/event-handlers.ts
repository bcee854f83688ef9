// Event handlers as attributes (`onname`), as HTML has them, for event targets of ours.

type Handler = (event: Event) => unknown;
const handlers = new WeakMap<object, Map<string, Handler | null>>();

/** Gives objects of this prototype an attribute `on…` for each type of event. */
export function addEventHandlers(prototype: EventTarget, ...types: string[]): void {
  for (const type of types) {
    Object.defineProperty(prototype, `on${type}`, {
      configurable: true,
      enumerable: true,
      get(this: EventTarget): Handler | null {
        return handlers.get(this)?.get(type) ?? null;
      },
      set(this: EventTarget, value: unknown) {
        const own = handlers.get(this) ?? new Map<string, Handler | null>();
        handlers.set(this, own);
        // It keeps the place among listeners that it got first.
        if (!own.has(type)) this.addEventListener(type, (event) => own.get(type)?.call(this, event));
        own.set(type, typeof value === 'function' ? (value as Handler) : null);
      },
    });
  }
}
