/** A packet, and the text of its data. */
export interface SplitEnvelope {
  readonly packet: { readonly metadata: object; readonly pattern: string; readonly data: unknown };
  /** The text of `packet.data`. */
  readonly text: string;
}

// The output of encodeEnvelope() up to the data. A text with an escape in it does not match, nor do additions of later versions.
const HEAD =
  /^\{"metadata":\{"v":1,"node":"([^"\\]*)","at":(\d{1,15}),"n":(\d{1,15})(?:,"type":"([^"\\]*)")?(?:,"meta":(.*?))?\},"pattern":"([^"\\]*)","data":/y;

/**
 * Reads an envelope as this version writes it, and says which part of it is the data: browsers are sent that very text,
 * on every node the same. Head and data are each parsed by themselves, so nothing is taken on trust: what stands in
 * the text can be nothing but the one value. It takes no longer than to parse the whole.
 *
 * @returns `undefined` for any other text, even if it is an envelope
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
    // The note of a message looks like the end of the metadata. Whether it is JSON at all is checked elsewhere.
    return undefined;
  }
}
