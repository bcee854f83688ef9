// `datetime.strftime` of a local time without a zone, in the C locale, with glibc's flags (`%-d`, `%_H`, `%^a`).

import { spend } from './budget.js';

const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];

const DAY = 86_400_000;

/** The ISO week's year and number. */
function isoWeek(date: Date): [number, number] {
  const day = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  const thursday = new Date(day + (3 - ((date.getDay() + 6) % 7)) * DAY);
  const year = thursday.getUTCFullYear();
  return [year, 1 + Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / (7 * DAY))];
}

/** A directive's text, or a number with its usual width and fill. */
type Field = string | readonly [value: number, width: number, fill?: string];

function field(date: Date, code: string): Field | undefined {
  const yearDay = Math.round(
    (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / DAY,
  );
  const [weekDay, hour, twelve] = [date.getDay(), date.getHours(), date.getHours() % 12 || 12];
  const nested = (format: string) => strftime(date, format);
  switch (code) {
    case 'a':
      return days[weekDay].slice(0, 3);
    case 'A':
      return days[weekDay];
    case 'b':
    case 'h':
      return months[date.getMonth()].slice(0, 3);
    case 'B':
      return months[date.getMonth()];
    case 'c':
      return nested('%a %b %e %H:%M:%S %Y');
    case 'C':
      return [Math.floor(date.getFullYear() / 100), 2];
    case 'd':
      return [date.getDate(), 2];
    case 'D':
    case 'x':
      return nested('%m/%d/%y');
    case 'e':
      return [date.getDate(), 2, ' '];
    case 'f':
      return [date.getMilliseconds() * 1000, 6];
    case 'F':
      return nested('%Y-%m-%d');
    case 'g':
      return [isoWeek(date)[0] % 100, 2];
    case 'G':
      return [isoWeek(date)[0], 4];
    case 'H':
      return [hour, 2];
    case 'I':
      return [twelve, 2];
    case 'j':
      return [yearDay + 1, 3];
    case 'k':
      return [hour, 2, ' '];
    case 'l':
      return [twelve, 2, ' '];
    case 'm':
      return [date.getMonth() + 1, 2];
    case 'M':
      return [date.getMinutes(), 2];
    case 'n':
      return '\n';
    case 'p':
      return hour < 12 ? 'AM' : 'PM';
    case 'P':
      return hour < 12 ? 'am' : 'pm';
    case 'r':
      return nested('%I:%M:%S %p');
    case 'R':
      return nested('%H:%M');
    case 's':
      return [Math.floor(date.getTime() / 1000), 1];
    case 'S':
      return [date.getSeconds(), 2];
    case 't':
      return '\t';
    case 'T':
    case 'X':
      return nested('%H:%M:%S');
    case 'u':
      return [weekDay || 7, 1];
    case 'U':
      return [Math.floor((yearDay + 7 - weekDay) / 7), 2];
    case 'V':
      return [isoWeek(date)[1], 2];
    case 'w':
      return [weekDay, 1];
    case 'W':
      return [Math.floor((yearDay + 7 - ((weekDay + 6) % 7)) / 7), 2];
    case 'y':
      return [date.getFullYear() % 100, 2];
    case 'Y':
      return [date.getFullYear(), 4];
    case 'z':
    case 'Z':
      return '';
    case '%':
      return '%';
    default:
      return undefined;
  }
}

/** Directives that do not exist stay as they are. */
export function strftime(date: Date, format: string): string {
  spend(32 * format.length);
  return format.replace(
    /%([-_0^#]*)(\d{1,3})?[EO]?([a-zA-Z%])/g,
    (whole, flags: string, width: string | undefined, code: string) => {
      spend(Number(width ?? 0));
      const found = field(date, code);
      if (found === undefined) return whole;
      const text = typeof found === 'string' ? found : number(found, flags, width);
      if (flags.includes('^')) return text.toUpperCase();
      return flags.includes('#') ? (code === 'Z' || code === 'p' ? text.toLowerCase() : text.toUpperCase()) : text;
    },
  );
}

function number(
  [value, usual, fill = '0']: readonly [number, number, string?],
  flags: string,
  width: string | undefined,
): string {
  if (flags.includes('-')) return String(value);
  const by = flags.includes('_') ? ' ' : flags.includes('0') ? '0' : fill;
  return String(value).padStart(width === undefined ? usual : Number(width), by);
}
