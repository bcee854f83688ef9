// A whole number that was written as a float: Python prints 2.0 where JavaScript knows only 2. Readers of data give it, so that
// texts made of rows are Python's; everything else may take it for a number (it is one to `Number()` and to JSON). A leaf.

export class PythonFloat {
  constructor(readonly value: number) {}

  valueOf(): number {
    return this.value;
  }

  toJSON(): number {
    return this.value;
  }
}

/** A float as data: a plain number where that shows that it is one, else a `PythonFloat`. */
export function floatOf(value: number): number | PythonFloat {
  return Number.isInteger(value) ? new PythonFloat(value) : value;
}
