// Errors of requests.

/** Error of a request, with all that a person needs to report it. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly code: string,
    readonly requestId: string | null = null,
  ) {
    super(message);
  }
}
