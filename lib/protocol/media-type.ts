/**
 * Whether the value of a `Content-Type` header names a type (RFC 9110, 8.3.1): in any case, whatever its parameters.
 *
 * @param type - in lower case
 */
export function hasMediaType(header: unknown, type: string): boolean {
  return String(header).split(';')[0]!.trim().toLowerCase() === type;
}
