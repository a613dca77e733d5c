import type { GapReason } from '../protocol/position.js';
import { Frame, encodeFrame, gapFrame, type DropRule } from '../sse/frame.js';
import type { ReadyEvent } from '../protocol/gateway.js';
import type { Admissions } from './admission.js';
import type { NativeReader } from './channel-feed.js';
import { nativeBytes, type ClientEntry } from './client-message.js';
import { NativePosition, streamId, type NativePlace } from './native-position.js';
import type { Entrance } from './resume.js';
import type { Greeting, Place, Send, StreamForm } from './stream-form.js';

/** The `id` of a stream whose position is too long for one: a client that comes back with it has a gap in each channel. */
const NO_POSITION = '-';

/** A stream as a native EventSource reads it: events as those of `@Sse()`, whose `id` says how far it is in all channels. */
export class NativeForm implements StreamForm {
  private readonly places: (NativePlace | undefined)[];
  private readonly stream: number;

  /**
   * @param owner - see `positionOwner`
   * @param names - those of the URL
   * @param position - that of the stream, in the logs that it comes from until it goes on with those of this node
   * @param greeting - until the stream is ready
   */
  constructor(
    private readonly admissions: Admissions,
    private readonly owner: string,
    private readonly send: Send,
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

  missed({ feed, missed }: Entrance): void {
    for (const entry of missed.entries) this.entry(feed.name, entry);
  }

  goOn(entered: readonly Entrance[], had: readonly Place[]): void {
    for (const { feed, admission, offset } of entered) this.set({ name: feed.name, admission, offset });
    for (const place of had) this.set(place);
    this.position = NativePosition.begin(this.admissions, this.owner, this.names, this.places, this.stream);
    if (this.greeting !== undefined) this.greet(this.greeting);
    for (const { feed, gap } of entered) {
      if (gap !== undefined) this.send(gapFrame({ channel: feed.name, reason: gap }, this.id));
    }
  }

  rest({ feed, rest }: Entrance): void {
    for (const entry of rest) this.entry(feed.name, entry);
  }

  placeIn(name: string): NativeReader {
    return {
      message: (offset, { bytes, dropRule }) => this.message(name, offset, bytes, dropRule),
      gap: (offset, reason) => this.gap(name, offset, reason),
    };
  }

  private get id(): string {
    return this.position?.id ?? NO_POSITION;
  }

  private greet({ connection, heartbeatMs, answers }: Greeting): void {
    this.greeting = undefined;
    const ready: ReadyEvent = { connection, heartbeatMs, channels: answers };
    this.send(new Frame(encodeFrame({ event: 'messaging:ready', id: this.id, data: JSON.stringify(ready) })));
  }

  private set({ name, admission, offset }: Place): void {
    const index = this.names.indexOf(name);
    if (index >= 0) this.places[index] = { admission, offset };
  }

  private entry(name: string, { offset, item }: ClientEntry): void {
    if (item.kind === 'gap') this.gap(name, offset, item.reason);
    else this.message(name, offset, nativeBytes(item.body, offset));
  }

  private message(name: string, offset: number, bytes: Buffer, rule?: DropRule): void {
    this.advance(name, offset);
    const { id } = this;
    // In the same block as the message: none that has come is asked for again.
    this.send(new Frame(Buffer.concat([Buffer.from(`id: ${id}\n`), bytes]), rule && { ...rule, id }));
  }

  private gap(name: string, offset: number, reason: GapReason): void {
    this.advance(name, offset);
    this.send(gapFrame({ channel: name, reason }, this.id));
  }

  private advance(name: string, offset: number): void {
    const index = this.names.indexOf(name);
    if (index >= 0) this.position?.advance(index, offset);
  }
}
