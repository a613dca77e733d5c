import { randomUUID } from 'node:crypto';
import type { MessageHandler, Server } from '@nestjs/microservices';
import { defer, takeUntil } from 'rxjs';
import type { MessageContext } from '../../core/message-context.js';
import type { Hub } from '../../core/hub.js';
import { isolateResult } from '../../core/isolated-observable.js';
import { InvalidMessageError } from '../../protocol/errors.js';
import type { HandleMessage } from './messaging-rpc-context.js';
import { requestedName, type RequestChannel } from './pattern.js';
import { isRequest, isStop, type RequestMessage } from './request-reply.js';
import { RunningRequest } from './running-request.js';

/** Answers the requests of one pattern. */
export class Responder {
  private readonly id = randomUUID();
  private readonly running = new Map<string, RunningRequest>();

  constructor(
    private readonly hub: Hub,
    readonly channel: RequestChannel,
    /** What logs call it. */
    readonly label: string,
    private readonly handler: MessageHandler,
    private readonly server: Pick<Server, 'send' | 'transformToObservable'>,
    private readonly handle: HandleMessage,
  ) {}

  /**
   * Takes what came on the pattern's channel.
   *
   * @throws InvalidMessageError (rejects) for what is no request
   */
  async receive(packet: unknown, message: MessageContext): Promise<void> {
    if (isStop(packet)) {
      if (packet.except !== this.id) this.running.get(packet.id)?.stop();
    } else if (isRequest(packet)) {
      if (!this.running.has(packet.id)) await this.answer(packet, message);
    } else {
      throw new InvalidMessageError('what arrived is no request');
    }
  }

  /** Ends the answers that are under way; the callers get an error. */
  async close(): Promise<void> {
    const aborted = [...this.running.values()].map((request) =>
      request.abort('The server shut down before it had answered'),
    );
    await Promise.all(aborted);
  }

  private async answer(packet: RequestMessage, message: MessageContext): Promise<void> {
    const { hub, server } = this;
    const request = new RunningRequest(hub, packet, this.id);
    this.running.set(packet.id, request);
    try {
      await this.handle(requestedName(message.channel), message, (context) => {
        const failed = (error: unknown) => hub.reporter.callbackFailed({ callback: `The end of ${this.label}`, error });
        const answers = defer(() =>
          server.transformToObservable(isolateResult(this.handler(packet.data, context), failed)),
        );
        server.send(answers.pipe(takeUntil(request.ended)), (answer) => request.reply(answer));
        return request.done;
      });
    } finally {
      this.running.delete(packet.id);
    }
    // Reported as the handler's failure, which it is: the caller was told no more than of any other.
    if (request.unsendable !== undefined) throw request.unsendable;
  }
}
