// How many rows of corpora and tuning data may be passed over (`skip_bad_rows`). What makes a row bad is the readers'.

import { counted, InputError } from '../errors.js';

/** One bad row more than may be passed over. */
export class TooManyBadRows extends InputError {
  constructor(most: number, { message }: InputError) {
    super(`${message}; ${counted(most, 'bad row')} passed over already, and skip_bad_rows allows no more`);
  }
}

/** Passes over so many bad rows, telling each; throws for the next one. With 0 the first one's own error is thrown. */
export function limitBadRows(most: number, onSkip: (error: InputError) => void): (error: InputError) => void {
  let rows = 0;
  return (error) => {
    if (most === 0) throw error;
    if (++rows > most) throw new TooManyBadRows(most, error);
    onSkip(error);
  };
}
