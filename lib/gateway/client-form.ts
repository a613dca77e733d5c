import type { ChannelPosition, PositionEvent, ReadyChannel, ReadyEvent } from '../protocol/gateway.js';
import type { Batch } from '../sse/batch.js';
import type { FeedPlace, FeedReader } from '../sse/feed.js';
import { Frame, encodeFrame } from '../sse/frame.js';
import type { Admissions } from './admission.js';
import { clientFrame } from './replays.js';
import type { Entrance } from './resume.js';
import type { Greeting, Place, Send, StreamForm } from './stream-form.js';

/** A stream as our client reads it: frames name the channel and restore types, events of its own say positions. */
export class ClientForm implements StreamForm, FeedReader {
  private readonly place: FeedPlace = { reader: this };

  /** @param owner - see `positionOwner` @param greeting - until the stream is ready */
  constructor(
    private readonly admissions: Admissions,
    private readonly owner: string,
    private readonly send: Send,
    private greeting: Greeting | undefined,
  ) {}

  sendAll(batch: Batch): void {
    this.send(batch);
  }

  missed({ missed }: Entrance): void {
    if (missed.entries.length > 0) this.send(missed.frame);
  }

  goOn(entered: readonly Entrance[], had: readonly Place[]): void {
    const channels = [
      ...entered.map((entrance) => this.positionAfter(entrance)),
      ...had.map((place) => this.positionOf(place)),
    ];
    if (this.greeting === undefined) return this.event('messaging:position', { channels } satisfies PositionEvent);
    const { connection, heartbeatMs, answers } = this.greeting;
    this.greeting = undefined;
    const positions = new Map(channels.map((position) => [position.channel, position]));
    this.event('messaging:ready', {
      connection,
      heartbeatMs,
      position: '-',
      channels: answers.flatMap((answer): ReadyChannel[] => {
        if (answer.error !== undefined) return [{ ...answer, error: answer.error }];
        const position = positions.get(answer.channel);
        return position === undefined ? [] : [position];
      }),
    } satisfies ReadyEvent);
  }

  rest({ feed, rest }: Entrance): void {
    for (const entry of rest) this.send(clientFrame(feed.name, entry));
  }

  placeIn(): FeedPlace {
    return this.place;
  }

  private positionAfter({ feed, gap, isBack, admission, offset }: Entrance): ChannelPosition {
    const position = this.positionOf({ name: feed.name, admission, offset });
    if (!isBack) return position;
    return gap === undefined ? { ...position, recovered: true } : { ...position, recovered: false, reason: gap };
  }

  private positionOf({ name, admission, offset }: Place): ChannelPosition {
    return { channel: name, position: { epoch: this.admissions.epoch(this.owner, name, admission), offset } };
  }

  private event(event: string, data: object): void {
    this.send(new Frame(encodeFrame({ event, data: JSON.stringify(data) })));
  }
}
