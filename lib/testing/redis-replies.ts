const LINE_END = '\r\n';

/** Cuts what a Redis sends, in RESP2 or RESP3, into whole replies and pushes. */
export class RedisReplies {
  private rest: Buffer = Buffer.alloc(0);

  /** Those that are whole with these bytes. The rest is kept. */
  take(bytes: Buffer): Buffer[] {
    const all = Buffer.concat([this.rest, bytes]);
    const replies: Buffer[] = [];
    let start = 0;
    for (let end = endOf(all, start); end !== undefined; end = endOf(all, start)) {
      replies.push(all.subarray(start, end));
      start = end;
    }
    this.rest = all.subarray(start);
    return replies;
  }
}

/** How many values of an aggregate stand for each that it counts. */
const AGGREGATES: Readonly<Record<string, number>> = { '*': 1, '~': 1, '>': 1, '%': 2, '|': 2 };
const BULKS = '$=!';

/** Where a value ends; `undefined` if it is not whole. */
function endOf(bytes: Buffer, start: number): number | undefined {
  const lineEnd = bytes.indexOf(LINE_END, start);
  if (lineEnd < 0) return undefined;
  const type = String.fromCharCode(bytes[start]!);
  const count = Number(bytes.toString('latin1', start + 1, lineEnd));
  let end = lineEnd + LINE_END.length;
  if (BULKS.includes(type)) {
    if (count >= 0) end += count + LINE_END.length;
    return end <= bytes.length ? end : undefined;
  }
  // The attributes of a value stand before it.
  const values = count * (AGGREGATES[type] ?? 0) + (type === '|' ? 1 : 0);
  for (let value = 0; value < values; value++) {
    const next = endOf(bytes, end);
    if (next === undefined) return undefined;
    end = next;
  }
  return end;
}

/** The Redis channel of a message that was published; `undefined` for any other reply. */
export function channelOf(reply: Buffer): string | undefined {
  const texts = bulksOf(reply);
  if (texts[0] === 'message' || texts[0] === 'smessage') return texts[1];
  return texts[0] === 'pmessage' ? texts[2] : undefined;
}

/** The first texts of a list of texts. */
function bulksOf(reply: Buffer): string[] {
  const texts: string[] = [];
  if (!'*>'.includes(String.fromCharCode(reply[0]!))) return texts;
  let at = reply.indexOf(LINE_END) + LINE_END.length;
  while (texts.length < 3 && reply[at] === '$'.charCodeAt(0)) {
    const lineEnd = reply.indexOf(LINE_END, at);
    const start = lineEnd + LINE_END.length;
    const end = start + Math.max(0, Number(reply.toString('latin1', at + 1, lineEnd)));
    texts.push(reply.toString('utf8', start, end));
    at = end + LINE_END.length;
  }
  return texts;
}
