import { RpcException, type MessageHandler, type Server } from '@nestjs/microservices';
import { Subject, defer, lastValueFrom, takeUntil } from 'rxjs';
import type { MessageContext } from '../../core/message-context.js';
import { isolateResult } from '../../core/isolated-observable.js';
import type { Reporter } from '../../core/reporter.js';
import type { AnyListenableChannel } from '../../protocol/channel.js';
import type { HandleMessage } from './messaging-rpc-context.js';

/** Hands the messages of a channel to one event handler. */
export class EventReceiver {
  private readonly closed = new Subject<void>();

  constructor(
    readonly channel: AnyListenableChannel,
    /** What logs call it. */
    readonly label: string,
    private readonly handler: MessageHandler,
    private readonly server: Pick<Server, 'transformToObservable'>,
    private readonly handle: HandleMessage,
    private readonly reporter: Reporter,
  ) {}

  /** Rejects with what the handler, or the stream that it gave, failed with. */
  async receive(data: unknown, message: MessageContext): Promise<void> {
    await this.handle(message.channel, message, async (context) => {
      const failed = (error: unknown) => this.reporter.callbackFailed({ callback: `The end of ${this.label}`, error });
      const results = defer(() =>
        this.server.transformToObservable(isolateResult(this.handler(data, context), failed)),
      );
      try {
        await lastValueFrom(results.pipe(takeUntil(this.closed)), { defaultValue: undefined });
      } catch (error) {
        // Nest's filters give plain objects, which the log would not show.
        throw error instanceof Error ? error : new RpcException(error as object);
      }
    });
  }

  /** Does not wait for what the handlers have begun any longer. */
  close(): void {
    this.closed.next();
  }
}
