// Classes of ours as the platform's: their members and attributes as Web IDL has them, and event handlers (`onname`) as HTML has them.
// Values that pages give are converted by prompt-input.ts.

type Handler = (event: Event) => unknown;

interface Handled {
  value: object | null;
  readonly listener: (event: Event) => unknown;
}
const handlers = new WeakMap<object, Map<string, Handled>>();

/** A class as an interface of the platform: its name, members that are enumerated, the number of arguments that each `requires` (default none). */
export function asInterface(
  made: { readonly prototype: object },
  name: string,
  requires: Readonly<Record<string, number>> = {},
): void {
  const own = (holder: object, key: PropertyKey, value: unknown): unknown =>
    Object.defineProperty(holder, key, { value, configurable: true });
  for (const holder of [made, made.prototype]) {
    for (const [key, property] of Object.entries(Object.getOwnPropertyDescriptors(holder))) {
      if (['constructor', 'length', 'name', 'prototype'].includes(key)) continue;
      if (typeof property.value === 'function') own(property.value, 'length', requires[key] ?? 0);
      Object.defineProperty(holder, key, { ...property, enumerable: true });
    }
  }
  own(made, 'name', name);
  own(made, 'length', 0);
  own(made.prototype, Symbol.toStringTag, name);
}

/** Gives objects of this prototype an attribute `on…` for each type of event. */
export function addEventHandlers(prototype: EventTarget, ...types: string[]): void {
  for (const type of types) {
    const name = `on${type}`;
    const of = (target: EventTarget): Map<string, Handled> => {
      if (!Object.prototype.isPrototypeOf.call(prototype, target)) throw new TypeError('Illegal invocation');
      const own = handlers.get(target) ?? new Map<string, Handled>();
      handlers.set(target, own);
      return own;
    };
    const attribute = {
      get [name](): object | null {
        return of(this as unknown as EventTarget).get(type)?.value ?? null;
      },
      set [name](given: unknown) {
        const target = this as unknown as EventTarget;
        const own = of(target);
        const before = own.get(type);
        const value = typeof given === 'function' || typeof given === 'object' ? given : null;
        if (value && before) {
          before.value = value; // in its place among listeners
          return;
        }
        if (before) target.removeEventListener(type, before.listener);
        own.delete(type);
        if (!value) return;
        const listener = (event: Event): unknown =>
          typeof handled.value === 'function' ? (handled.value as Handler).call(target, event) : undefined;
        const handled: Handled = { value, listener };
        own.set(type, handled);
        target.addEventListener(type, listener);
      },
    };
    Object.defineProperty(prototype, name, Object.getOwnPropertyDescriptor(attribute, name)!);
  }
}
