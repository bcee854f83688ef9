// What a client is told when its request cannot be answered: a status, one sentence, and OpenAI's words for the kind. Nothing of
// this program's inside ever goes out: what is no fault of the request is a plain "internal error", and the log has the rest.

import { InputError, shown, visibleLines } from '../errors.js';

interface ErrorDetails {
  /** OpenAI's kind; default by the status. */
  readonly type?: string;
  /** A word for programs, as `model_not_found`. */
  readonly code?: string;
  /** The field that is wrong. */
  readonly param?: string;
  /** Seconds after which another try makes sense. */
  readonly retryAfter?: number;
}

const types: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  429: 'rate_limit_error',
  500: 'server_error',
  503: 'server_error',
  504: 'timeout_error',
};

/** A refusal, meant for the client. */
export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    readonly status: number,
    message: string,
    readonly details: ErrorDetails = {},
  ) {
    super(visibleLines(message));
  }

  /** OpenAI's shape. */
  get body(): object {
    const { type = types[this.status] ?? 'invalid_request_error', code = null, param = null } = this.details;
    return { error: { message: this.message, type, param, code } };
  }

  get headers(): Record<string, string> {
    const { retryAfter } = this.details;
    return retryAfter === undefined ? {} : { 'retry-after': String(Math.max(1, Math.ceil(retryAfter))) };
  }
}

/** What a field was given, for a message; null is as if left out. */
export const given = (value: unknown): string => (value === undefined || value === null ? 'missing' : shown(value));

/** A field of the request that is wrong. */
export function badField(param: string, message: string): ApiError {
  return new ApiError(400, message, { param });
}

/** What was thrown, as the client may see it. */
export function apiErrorOf(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof InputError) return new ApiError(400, error.message);
  return new ApiError(500, 'internal error: the log of the server says more');
}
