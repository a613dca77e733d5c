import { isNodeId } from '../core/node-packet.js';
import type { Admission } from '../core/recovery.js';
import type { Position } from '../protocol/position.js';
import { readAdmission, readNumber, writeAdmission, type Admissions } from './admission.js';

const HISTORY_EPOCH = /^[\x21-\x7e]{0,40}$/;
/** The longest `id` of a native stream. A longer one would not fit into the request headers. */
export const MAX_NATIVE_ID_LENGTH = 4_096;

/** A client's place in one channel of a native stream: in a log of a node, or in the history of the channel. */
export type NativePlace = { readonly admission: Admission; readonly offset: number } | Position;

/**
 * The positions of a native EventSource in each of its channels, in the order of its URL. It sends this back as `Last-Event-ID`, which is
 * all it remembers: `<node>.<stream>~<log>.<admitted>,…~<mac>~<offset>,…`, numbers in base 36, nothing between the commas for a channel
 * that the stream does not have. A channel with history has `<offset>!<epoch>`, which any node can read, and no signed part.
 */
export class NativePosition {
  private readonly offsets: string[];

  /** @param head - everything but the offsets; it stays the same while one node feeds the stream */
  private constructor(
    private readonly head: string,
    private readonly begun: readonly (NativePlace | undefined)[],
  ) {
    this.offsets = begun.map((place) => (place === undefined ? '' : writeEnd(place.offset, epochOf(place))));
  }

  /**
   * Creates one. @param owner - see `positionOwner` @param names - of the URL, one for each place @param stream - a unique number on the
   * node
   */
  static begin(
    admissions: Admissions,
    owner: string,
    names: readonly string[],
    places: readonly (NativePlace | undefined)[],
    stream: number,
  ): NativePosition {
    const list = places.map((place) => (isSigned(place) ? writeAdmission(place.admission) : '')).join(',');
    const signed = `${streamId(admissions.node, stream)}~${list}`;
    return new NativePosition(`${signed}~${admissions.mac(owner, namesOf(names, places), signed)}~`, places);
  }

  /**
   * Reads a `Last-Event-ID`. It may be of another node, and only that node can detect a forgery: see {@link isOf}.
   *
   * @param channels - how many channels the URL has
   * @returns `undefined` if no node can have sent it for such a URL
   */
  static read(id: string, channels: number): NativePosition | undefined {
    if (id.length > MAX_NATIVE_ID_LENGTH) return undefined;
    const parts = id.split('~');
    const [from = '', list = '', mac = '', ends = ''] = parts;
    const [node, stream = '', ...others] = from.split('.');
    if (parts.length !== 4 || !isNodeId(node) || readNumber(stream) === undefined || others.length > 0)
      return undefined;
    const [texts, offsets] = [list.split(','), ends.split(',')];
    if (texts.length !== channels || offsets.length !== channels) return undefined;
    const places = texts.map((text, index) => readPlace(text, offsets[index]!));
    if (places.some((place) => place === 'wrong')) return undefined;
    return new NativePosition(`${from}~${list}~${mac}~`, places as (NativePlace | undefined)[]);
  }

  /** The node that issued it. */
  get node(): string {
    return this.head.slice(0, this.head.indexOf('.'));
  }

  /** See {@link streamId}. */
  get stream(): string {
    return this.head.slice(0, this.head.indexOf('~'));
  }

  /** The places, in the order of the URL. */
  get places(): (NativePlace | undefined)[] {
    return this.begun.map((place, index) => {
      if (!isSigned(place)) return place;
      return { ...place, offset: Number.parseInt(this.offsets[index]!, 36) };
    });
  }

  /**
   * Whether a node issued these admissions to this owner, for these names in this order; names without a place may differ. Offsets are not
   * signed, because changing them does no harm.
   */
  isOf(admissions: Admissions, owner: string, names: readonly string[]): boolean {
    const [stream, list, mac] = this.head.split('~');
    return this.node === admissions.node && admissions.isMac(mac, owner, this.namesIn(names), `${stream}~${list}`);
  }

  /** The names in the URL that have a signed place; an empty string for every other name. */
  namesIn(names: readonly string[]): string[] {
    return namesOf(names, this.begun);
  }

  /**
   * Notes that a channel has been read up to an offset. @param index - of its name in the URL @param epoch - of its history, if it keeps
   * one
   */
  advance(index: number, offset: number, epoch?: string): void {
    this.offsets[index] = writeEnd(offset, epoch);
  }

  /** The `id` of an event; `undefined` if it is too long: the stream then has none, and a client that returns has gaps. */
  get id(): string | undefined {
    const id = this.head + this.offsets.join(',');
    return id.length > MAX_NATIVE_ID_LENGTH ? undefined : id;
  }
}

function namesOf(names: readonly string[], places: readonly (NativePlace | undefined)[]): string[] {
  return names.map((name, index) => (isSigned(places[index]) ? name : ''));
}

/** The id of a native stream for all nodes. @param stream - its number on its node */
export function streamId(node: string, stream: number): string {
  return `${node}.${stream.toString(36)}`;
}

function isSigned(place: NativePlace | undefined): place is Extract<NativePlace, { admission: Admission }> {
  return place !== undefined && 'admission' in place;
}

function epochOf(place: NativePlace): string | undefined {
  return isSigned(place) ? undefined : place.epoch;
}

/** Escapes the separators of a position. */
function writeEnd(offset: number, epoch: string | undefined): string {
  const text = offset.toString(36);
  return epoch === undefined ? text : `${text}!${epoch.replace(/[~,%]/g, encodeURIComponent).replaceAll('~', '%7E')}`;
}

function readEnd(end: string): Position | 'wrong' {
  const [text = '', ...rest] = end.split('!');
  const offset = readNumber(text);
  try {
    const epoch = decodeURIComponent(rest.join('!'));
    // It is written into the stream again.
    return offset === undefined || !HISTORY_EPOCH.test(epoch) ? 'wrong' : { epoch, offset };
  } catch {
    return 'wrong';
  }
}

function readPlace(text: string, end: string): NativePlace | undefined | 'wrong' {
  if (text === '' && end === '') return undefined;
  if (text === '' && end.includes('!')) return readEnd(end);
  const [admission, offset] = [readAdmission(text), readNumber(end)];
  return admission === undefined || offset === undefined ? 'wrong' : { admission, offset };
}
