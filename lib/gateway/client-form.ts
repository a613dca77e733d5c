import type {
  ChannelAnswer,
  ChannelPosition,
  ExpiringEvent,
  PositionEvent,
  ReadyEvent,
  ReplayEvent,
  WithdrawalReason,
  WithdrawnEvent,
} from '../protocol/gateway.js';
import type { FeedPlace, FeedReader } from '../sse/feed.js';
import { Frame, encodeFrame } from '../sse/frame.js';
import type { Admissions } from './admission.js';
import type { HistoryEntrance } from './history-entrance.js';
import { clientPosition, positionFrame } from './history-place.js';
import { clientFrame } from './replays.js';
import type { ChannelEntrance, Entrance } from './resume.js';
import {
  placeAfter,
  withoutLost,
  type Greeting,
  type Place,
  type StreamForm,
  type StreamOutput,
} from './stream-form.js';

/** A stream for this library's client: its frames name the channel and restore types, and it has events for positions. */
export class ClientForm implements StreamForm, FeedPlace {
  /** Receives the frames of feeds. */
  readonly reader: FeedReader;

  /**
   * @param owner - see `positionOwner`
   * @param greeting - set until the stream is ready
   * @param reader - receives the frames of feeds; by default the output does
   */
  constructor(
    private readonly admissions: Admissions,
    private readonly owner: string,
    private readonly output: StreamOutput,
    private greeting: Greeting | undefined,
    reader: FeedReader = { sendAll: (batch) => output.send(batch) },
  ) {
    this.reader = reader;
  }

  missed(entrance: Entrance): void {
    const { feed, missed, gap } = entrance;
    // Must come before the messages that are counted from there.
    if ('at' in entrance && entrance.from !== undefined) this.output.send(positionFrame(feed.name, entrance.from, gap));
    if (missed.entries.length > 0) this.output.send(missed.frame);
  }

  goOn(entered: readonly Entrance[], had: readonly Place[]): void {
    const channels = [
      ...entered.map((entrance) => this.positionAfter(entrance)),
      ...had.map((place) => this.positionOf(place)),
    ];
    if (this.greeting === undefined) {
      const known = channels.filter((each) => 'position' in each);
      return this.event('messaging:position', { channels: known } satisfies PositionEvent);
    }
    const { connection, heartbeatMs, answers, replays = [] } = this.greeting;
    this.greeting = undefined;
    const positions = new Map(channels.map((position) => [position.channel, position]));
    this.event('messaging:ready', {
      connection,
      heartbeatMs,
      position: '-',
      channels: answers.map(
        (answer) => positions.get(answer.channel) ?? withoutLost(answer, () => false),
      ) as ReadyEvent['channels'],
      ...(replays.length > 0 && { replays }),
    } satisfies ReadyEvent);
  }

  rest({ feed, rest }: ChannelEntrance): void {
    for (const entry of rest) this.output.send(clientFrame(feed.name, entry));
  }

  replayed(listener: string, page: HistoryEntrance, isDone: boolean): void {
    const { feed, missed, gap, from, at } = page;
    if (from === undefined || at === undefined) return;
    const told = { channel: feed.name, listener };
    const before: ReplayEvent = { ...told, position: clientPosition(from), ...(gap !== undefined && { reason: gap }) };
    this.event('messaging:replay', before);
    if (missed.entries.length > 0) this.output.send(missed.frame);
    this.event('messaging:replay', { ...told, position: clientPosition(at), done: isDone } satisfies ReplayEvent);
  }

  withdrawn(channels: readonly string[], reason: WithdrawalReason): void {
    this.event('messaging:withdrawn', { channels, reason } satisfies WithdrawnEvent);
  }

  expiring(leftMs: number): void {
    this.event('messaging:expiring', { leftMs } satisfies ExpiringEvent);
  }

  placeIn(): FeedPlace {
    return this;
  }

  /** Has no position if that is not known yet; a later event reports it. */
  private positionAfter(entrance: Entrance): ChannelPosition | ChannelAnswer {
    const place = placeAfter(entrance);
    if (place === undefined) return { channel: entrance.feed.name };
    const position = this.positionOf(place);
    if (!entrance.isBack) return position;
    // In a history, the gap was reported in its place.
    const gap = 'at' in entrance ? undefined : entrance.gap;
    return gap === undefined ? { ...position, recovered: true } : { ...position, recovered: false, reason: gap };
  }

  private positionOf(place: Place): ChannelPosition {
    const { name: channel, offset } = place;
    if (!('admission' in place)) return { channel, position: clientPosition(place) };
    return { channel, position: { epoch: this.admissions.epoch(this.owner, channel, place.admission), offset } };
  }

  private event(event: string, data: object): void {
    this.output.send(new Frame(encodeFrame({ event, data: JSON.stringify(data) })));
  }
}
