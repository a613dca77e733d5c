/** An id as it may be compared with others: a non-empty text, or a number that is one. */
export function identity(value: unknown): string | number | undefined {
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'string' && value !== '') return value;
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}
identity.expected = 'a non-empty string, a number or a bigint';
