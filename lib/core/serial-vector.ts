import { MAX_NODE_LENGTH } from '../protocol/envelope.js';
import { readList, readName, readText, readTuple, readWholeNumber } from '../protocol/wire-reader.js';

/** The node, the channel (empty in a log of one channel) and the highest serial. */
type Row = readonly [node: string, channel: string, serial: number];

/** More posters, or channels of a template, are not remembered. */
const MAX_VECTOR_ROWS = 10_000;

/**
 * How far each poster's messages have come to a log. A poster's serials rise in each channel, but not over several channels:
 * a listener may post to another channel before its own message has reached everybody. So a log of a template counts each
 * channel by itself.
 */
export class SerialVector {
  private readonly nodes = new Map<string, Map<string, number>>();
  private rows = 0;

  /** @param perChannel - whether it is of a template */
  constructor(readonly perChannel: boolean) {}

  get size(): number {
    return this.rows;
  }

  /** @returns whether there was room for it */
  note(node: string, channel: string, serial: number): boolean {
    let channels = this.nodes.get(node);
    if (channels === undefined) this.nodes.set(node, (channels = new Map<string, number>()));
    const key = this.perChannel ? channel : '';
    const highest = channels.get(key);
    if (highest === undefined) {
      if (this.rows >= MAX_VECTOR_ROWS) return false;
      this.rows++;
    }
    if (highest === undefined || serial > highest) channels.set(key, serial);
    return true;
  }

  /** Whether a message has come to the log. */
  covers(node: string, channel: string, serial: number): boolean {
    return serial <= (this.nodes.get(node)?.get(this.perChannel ? channel : '') ?? -1);
  }

  /** Takes over all that another one has noted. @returns whether there was room for it */
  noteAll(other: SerialVector): boolean {
    return other.toJSON().every(([node, channel, serial]) => this.note(node, channel, serial));
  }

  toJSON(): Row[] {
    return [...this.nodes].flatMap(([node, channels]) =>
      [...channels].map(([channel, serial]): Row => [node, channel, serial]),
    );
  }

  /** @throws InvalidMessageError for what {@link toJSON} could not have given */
  static read(value: unknown, path: string, perChannel: boolean): SerialVector {
    const vector = new SerialVector(perChannel);
    readList(value, path, MAX_VECTOR_ROWS, (row) => {
      const [node, channel, serial] = readTuple(row, `a row of ${path}`, 3);
      vector.note(
        readText(node, `a node of ${path}`, MAX_NODE_LENGTH),
        readName(channel, `a channel of ${path}`),
        readWholeNumber(serial, `a serial of ${path}`),
      );
    });
    return vector;
  }
}
