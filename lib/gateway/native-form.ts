import type { GapReason } from '../protocol/position.js';
import { Frame, encodeFrame, gapFrame, type DropRule } from '../sse/frame.js';
import type { ReadyEvent, WithdrawalReason, WithdrawnEvent } from '../protocol/gateway.js';
import type { Admissions } from './admission.js';
import type { NativeReader } from './used-feed.js';
import { nativeBytes, type ClientEntry } from './client-message.js';
import { NativePosition, streamId, type NativePlace } from './native-position.js';
import type { ChannelEntrance, Entrance } from './resume.js';
import {
  placeAfter,
  withoutLost,
  type Greeting,
  type Place,
  type StreamForm,
  type StreamOutput,
} from './stream-form.js';

/** The `id` of a stream whose position is too long. A client that comes back with it has a gap in each channel. */
const NO_POSITION = '-';

/** The position of a channel. */
interface Reached {
  readonly offset: number;
  /** The epoch of its history, if it keeps one. */
  readonly epoch: string | undefined;
}

/** A stream for a native EventSource: events like those of `@Sse()`, with ids that contain the positions of all channels. */
export class NativeForm implements StreamForm {
  private readonly places: (NativePlace | undefined)[];
  private readonly stream: number;

  /**
   * @param owner - see `positionOwner`
   * @param names - the names of the URL
   * @param position - of the stream, in the logs that it comes from until it continues with those of this node
   * @param greeting - set until the stream is ready
   */
  constructor(
    private readonly admissions: Admissions,
    private readonly owner: string,
    private readonly output: StreamOutput,
    private readonly names: readonly string[],
    private position: NativePosition | undefined,
    private greeting: Greeting | undefined,
  ) {
    this.places = names.map(() => undefined);
    this.stream = admissions.nextStream();
  }

  get returnsAs(): string {
    return streamId(this.admissions.node, this.stream);
  }

  missed(entrance: Entrance): void {
    const { feed, missed, gap } = entrance;
    const { name } = feed;
    if ('admission' in entrance) {
      for (const entry of missed.entries) this.entry(name, entry);
      return;
    }
    // Earlier messages come before the first event of a new stream.
    this.position ??= this.begin();
    const { from, at } = entrance;
    const epoch = (from ?? at)?.epoch;
    if (from !== undefined) this.advance(name, from.offset, epoch);
    if (gap !== undefined) this.output.send(gapFrame({ channel: name, reason: gap }, this.id));
    for (const entry of missed.entries) this.entry(name, entry, epoch);
    if (at !== undefined) this.advance(name, at.offset, at.epoch);
  }

  goOn(entered: readonly Entrance[], had: readonly Place[]): void {
    // Channels that a change does not name keep their positions.
    if (this.greeting === undefined) this.keepPlaces();
    for (const place of [...entered.map(placeAfter), ...had]) if (place !== undefined) this.set(place);
    this.position = this.begin();
    if (this.greeting !== undefined) this.greet(this.greeting, new Set(entered.map(({ feed }) => feed.name)));
    for (const { feed, gap, ...entrance } of entered) {
      // In a history, the gap was reported in its place.
      if (gap !== undefined && 'admission' in entrance)
        this.output.send(gapFrame({ channel: feed.name, reason: gap }, this.id));
    }
  }

  rest({ feed, rest }: ChannelEntrance): void {
    for (const entry of rest) this.entry(feed.name, entry);
  }

  withdrawn(channels: readonly string[], reason: WithdrawalReason): void {
    // Has no `id`, so the position stays.
    const event: WithdrawnEvent = { channels, reason };
    this.output.send(new Frame(encodeFrame({ event: 'messaging:withdrawn', data: JSON.stringify(event) })));
  }

  placeIn(name: string): NativeReader {
    return {
      message: (offset, { bytes, dropRule }, epoch) => this.message(name, { offset, epoch }, bytes, dropRule),
      gap: (offset, reason, epoch) => this.gap(name, { offset, epoch }, reason),
    };
  }

  private begin(): NativePosition {
    return NativePosition.begin(this.admissions, this.owner, this.names, this.places, this.stream);
  }

  private get id(): string {
    return this.position?.id ?? NO_POSITION;
  }

  private greet({ connection, heartbeatMs, answers }: Greeting, has: ReadonlySet<string>): void {
    this.greeting = undefined;
    const channels = answers.map((answer) => withoutLost(answer, (name) => has.has(name)));
    const ready: ReadyEvent = { connection, heartbeatMs, channels };
    this.output.send(new Frame(encodeFrame({ event: 'messaging:ready', id: this.id, data: JSON.stringify(ready) })));
  }

  private set({ name, ...place }: Place): void {
    const index = this.names.indexOf(name);
    if (index >= 0) this.places[index] = place;
  }

  /** Stores the positions of the stream. A message then only advances its own offset. */
  private keepPlaces(): void {
    this.position?.places.forEach((place, index) => {
      if (this.places[index] !== undefined && place !== undefined && 'admission' in place) this.places[index] = place;
    });
  }

  private entry(name: string, { offset, item }: ClientEntry, epoch?: string): void {
    if (item.kind === 'gap') this.gap(name, { offset, epoch }, item.reason);
    else this.message(name, { offset, epoch }, nativeBytes(item.body, offset));
  }

  private message(name: string, at: Reached, bytes: Buffer, rule?: DropRule): void {
    this.advance(name, at.offset, at.epoch);
    const { id } = this;
    // In the same block as the message, so that no received message is requested again.
    this.output.send(new Frame(Buffer.concat([Buffer.from(`id: ${id}\n`), bytes]), rule && { ...rule, id }));
  }

  private gap(name: string, at: Reached, reason: GapReason): void {
    this.advance(name, at.offset, at.epoch);
    this.output.send(gapFrame({ channel: name, reason }, this.id));
  }

  private advance(name: string, offset: number, epoch?: string): void {
    const index = this.names.indexOf(name);
    if (index < 0) return;
    if (epoch !== undefined) this.places[index] = { epoch, offset };
    this.position?.advance(index, offset, epoch);
  }
}
