import { connect, type Socket } from 'node:net';
import { MARK } from './fanout-event.js';
import type { FanoutVariant } from './fanout-servers.js';

/** The request of a client, and the answer that it then waits for. */
interface Step {
  readonly send: string;
  readonly until: string;
}

/** The receiver of a client's reports. */
export interface LoadObserver {
  received(client: LoadClient, events: number): void;
  closed(client: LoadClient): void;
}

const MARK_BYTE = MARK.charCodeAt(0);
// Reading into one buffer leaves nothing to collect.
const shared = Buffer.allocUnsafe(65_536);
const EVENT = /"seq":(\d+),"at":([\d.]+),/g;

const HOST = 'host: 127.0.0.1\r\n';
const SOCKET_IO: readonly Step[] = [
  {
    send:
      `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n${HOST}connection: Upgrade\r\nupgrade: websocket\r\n` +
      'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    until: '"sid"',
  },
  // "40", which joins the namespace, in a text frame with a mask of zeros.
  { send: '\x81\x82\0\0\0\x0040', until: '40{' },
];
const OPENINGS: Partial<Record<FanoutVariant, readonly Step[]>> = {
  'messaging gateway': [
    { send: postRequest('/messages', '{"channels":[{"channel":"prices"}]}'), until: 'messaging:ready' },
  ],
  'nginx with nchan': [{ send: `GET /events HTTP/1.1\r\n${HOST}accept: text/event-stream\r\n\r\n`, until: ': hi' }],
  'Socket.IO': SOCKET_IO,
  'Socket.IO, sharded': SOCKET_IO,
};
const EVENT_STREAM: readonly Step[] = [{ send: `GET /events HTTP/1.1\r\n${HOST}\r\n`, until: '\r\n\r\n' }];

/** One connection, which counts events and, unless it is a sample, does not read them further. */
export class LoadClient {
  /** How many events it has received. */
  events = 0;
  /** The time of each event's post, if it is a sample. */
  onSample: ((at: number) => void) | undefined = undefined;
  private readonly socket: Socket;
  private readonly steps: Step[];
  private resolveOpened: () => void = () => {};
  private text = '';
  private seq: number | undefined = undefined;

  constructor(
    variant: FanoutVariant,
    port: number,
    private readonly observer: LoadObserver,
  ) {
    this.steps = [...(OPENINGS[variant] ?? EVENT_STREAM)];
    this.socket = connect({
      host: '127.0.0.1',
      port,
      onread: { buffer: shared, callback: (length) => this.read(shared.subarray(0, length)) },
    });
    this.socket.on('error', () => {});
    this.socket.on('close', () => observer.closed(this));
  }

  /** Resolves once the server sends it events. */
  open(): Promise<void> {
    this.socket.write(this.steps[0]!.send, 'latin1');
    return new Promise((resolve) => (this.resolveOpened = resolve));
  }

  /** Stops reading, and lets everything wait. */
  stall(): void {
    this.socket.pause();
  }

  private read(bytes: Buffer): boolean {
    if (this.steps.length > 0) this.proceed(bytes);
    const events = countMarks(bytes);
    this.events += events;
    if (this.onSample !== undefined) this.sample(bytes, this.onSample);
    if (events > 0) this.observer.received(this, events);
    return true;
  }

  private proceed(bytes: Buffer): void {
    this.text += bytes.toString('latin1');
    if (!this.text.includes(this.steps[0]!.until)) return;
    this.text = '';
    this.steps.shift();
    if (this.steps.length > 0) this.socket.write(this.steps[0]!.send, 'latin1');
    else this.resolveOpened();
  }

  private sample(bytes: Buffer, onSample: (at: number) => void): void {
    this.text += bytes.toString('latin1');
    let end = 0;
    for (const event of this.text.matchAll(EVENT)) {
      const seq = Number(event[1]);
      if (this.seq !== undefined && seq !== this.seq + 1) throw new Error(`event ${seq} came after ${this.seq}`);
      this.seq = seq;
      onSample(Number(event[2]));
      end = event.index + event[0].length;
    }
    this.text = this.text.slice(end);
  }
}

function postRequest(path: string, body: string): string {
  return `POST ${path} HTTP/1.1\r\n${HOST}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

/** Checks first at the expected place of the next one: with events of one length, that is several times as fast as a search. */
function countMarks(bytes: Buffer): number {
  let count = 0;
  let distance = 0;
  for (let place = bytes.indexOf(MARK_BYTE); place !== -1; count++) {
    const guess = place + distance;
    const next = distance > 0 && bytes[guess] === MARK_BYTE ? guess : bytes.indexOf(MARK_BYTE, place + 1);
    distance = next - place;
    place = next;
  }
  return count;
}
