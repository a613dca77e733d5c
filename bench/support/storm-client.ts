import { connect, type Socket } from 'node:net';

interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** A client of one channel, as small as possible, because a process has thousands of them. */
export class StormClient {
  /** How many messages have arrived since it was opened. */
  missed = 0;
  private position: Position | undefined;
  private socket: Socket | undefined;

  /** @param replay - how many earlier messages it asks for if it has no position */
  constructor(
    private readonly channel: string,
    private readonly replay?: number,
  ) {}

  /** Resolves once the stream is ready and this many messages have arrived. Some arrive a little later than `ready`. */
  open(port: number, least = 0): Promise<void> {
    const { channel, position, replay } = this;
    const start = position === undefined ? replay !== undefined && { replay } : { position };
    const body = JSON.stringify({ channels: [{ channel, ...start }] });
    return new Promise((resolve, reject) => {
      let text = '';
      this.socket = connect(port, '127.0.0.1', () => {
        const head = `POST /messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\naccept: text/event-stream\r\ncontent-length: ${body.length}\r\n\r\n`;
        this.socket!.write(head + body);
      })
        .setEncoding('utf8')
        .on('error', (error: NodeJS.ErrnoException) => {
          // The system had no more room for connections waiting for acceptance.
          if (error.code === 'ECONNRESET' && text === '') this.open(port, least).then(resolve, reject);
          else reject(error);
        })
        .on('data', (chunk: string) => {
          text += chunk;
          const ready = /event: messaging:ready\ndata: (.*)\n\n/.exec(text);
          if (ready === null) return;
          this.missed = text.split('\nid: ').length - 1;
          if (this.missed < least) return;
          const [answer] = (JSON.parse(ready[1]!) as { channels: { position?: Position }[] }).channels;
          this.position = answer!.position;
          text = '';
          resolve();
        });
    });
  }

  cut(): void {
    this.socket?.destroy();
  }
}
