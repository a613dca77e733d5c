/** A packet, and the text of its data. */
export interface SplitEnvelope {
  readonly packet: { readonly metadata: object; readonly pattern: string; readonly data: unknown };
  /** What `packet.data` was read from. */
  readonly text: string;
}

// What encodeEnvelope() writes, up to the data. A text with an escape in it does not match, nor does what later versions add.
const HEAD =
  /^\{"metadata":\{"v":1,"node":"([^"\\]*)","at":(\d{1,15}),"n":(\d{1,15})(?:,"type":"([^"\\]*)")?(?:,"meta":(.*?))?\},"pattern":"([^"\\]*)","data":/y;

/**
 * Reads an envelope as this version writes it, and says which part of it is the data: browsers are sent that very text,
 * on every node the same. Head and data are each parsed by themselves, so nothing is taken on trust: what stands in
 * the text can be nothing but the one value. It takes no longer than to parse the whole.
 *
 * @returns `undefined` for anything else; it may be an envelope all the same
 */
export function splitEnvelope(payload: string): SplitEnvelope | undefined {
  HEAD.lastIndex = 0;
  const head = HEAD.exec(payload);
  if (head === null || !payload.endsWith('}')) return undefined;
  const [, node, at, n, type, meta, pattern = ''] = head;
  const text = payload.slice(HEAD.lastIndex, -1);
  try {
    const metadata = { v: 1, node, at: Number(at), n: Number(n), type, meta: meta && (JSON.parse(meta) as unknown) };
    return { packet: { metadata, pattern, data: JSON.parse(text) }, text };
  } catch {
    // Where the note to a message looks like the end of the metadata. Whether it is JSON at all turns out elsewhere.
    return undefined;
  }
}
