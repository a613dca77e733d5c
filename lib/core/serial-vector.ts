import { MAX_NODE_LENGTH } from '../protocol/split-envelope.js';
import { readList, readName, readText, readTuple, readWholeNumber } from '../protocol/wire-reader.js';

/** The node, the channel (empty in a log of one channel) and the highest serial. */
type Row = readonly [node: string, channel: string, serial: number];

/** How many posters, or channels of a template, are reported for one log. */
export const MAX_VECTOR_ROWS = 2_000;

/**
 * How far each poster's messages have reached a log. A poster's serials rise within each channel but not across channels: a listener may
 * post to another channel before its own message has reached everybody. So a log of a template counts each channel separately.
 */
export class SerialVector {
  /** By node and channel; in a log of one channel, all under one key. */
  private readonly groups = new Map<string, Map<string, number>>();
  private rows = 0;

  /**
   * @param perChannel - whether it belongs to a template
   * @param isWhole - whether nothing is forgotten
   */
  constructor(
    readonly perChannel: boolean,
    private readonly maxRows = MAX_VECTOR_ROWS,
    private isWhole = true,
  ) {}

  get size(): number {
    return this.rows;
  }

  /** @returns whether there was room for it */
  note(node: string, channel: string, serial: number): boolean {
    const { perChannel } = this;
    const group = perChannel ? node : '';
    const key = perChannel ? channel : node;
    let serials = this.groups.get(group);
    if (serials === undefined) this.groups.set(group, (serials = new Map<string, number>()));
    const highest = serials.get(key);
    if (highest === undefined) {
      if (this.rows >= this.maxRows) return false;
      this.rows++;
    }
    if (highest === undefined || serial > highest) serials.set(key, serial);
    return true;
  }

  /** Whether a message has reached the log; `undefined` if that may have been forgotten. */
  covers(node: string, channel: string, serial: number): boolean | undefined {
    const { perChannel } = this;
    const highest = this.groups.get(perChannel ? node : '')?.get(perChannel ? channel : node);
    if (highest === undefined) return this.isWhole ? false : undefined;
    return serial <= highest;
  }

  /** Adds everything that another vector has noted, if there is room. */
  noteAll(other: SerialVector): void {
    for (const row of other.list()) this.note(...row);
  }

  /** Its rows, preceded by `null` if others are forgotten. */
  toJSON(): (Row | null)[] {
    return this.isWhole ? this.list() : [null, ...this.list()];
  }

  private list(): Row[] {
    const { perChannel } = this;
    return [...this.groups].flatMap(([group, serials]) =>
      [...serials].map(([key, serial]): Row => (perChannel ? [group, key, serial] : [key, '', serial])),
    );
  }

  /** @throws InvalidMessageError for a value that {@link toJSON} cannot have produced */
  static read(value: unknown, path: string, perChannel: boolean): SerialVector {
    const vector = new SerialVector(perChannel);
    readList(value, path, MAX_VECTOR_ROWS + 1, (row) => {
      if (row === null) {
        vector.isWhole = false;
        return;
      }
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
