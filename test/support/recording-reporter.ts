import type {
  CallbackFailure,
  ListenerFailure,
  Rejection,
  Reporter,
  SlowConsumer,
  StreamFailure,
} from '../../lib/core/reporter.js';

/** Keeps the reports of the engine. */
export class RecordingReporter implements Reporter {
  readonly listenerFailures: (ListenerFailure & { error: unknown })[] = [];
  readonly rejections: Rejection[] = [];
  readonly streamFailures: StreamFailure[] = [];
  readonly callbackFailures: CallbackFailure[] = [];
  readonly slowConsumers: SlowConsumer[] = [];
  readonly faultsOfServers: string[] = [];
  readonly warnings: string[] = [];

  listenerFailed(error: unknown, failure: ListenerFailure): void {
    this.listenerFailures.push({ ...failure, error });
  }

  messageRejected(rejection: Rejection): void {
    this.rejections.push(rejection);
  }

  streamFailed(failure: StreamFailure): void {
    this.streamFailures.push(failure);
  }

  callbackFailed(failure: CallbackFailure): void {
    this.callbackFailures.push(failure);
  }

  serversDiffer(fault: string): void {
    this.faultsOfServers.push(fault);
  }

  slowConsumer(consumer: SlowConsumer): void {
    this.slowConsumers.push(consumer);
  }

  warn(_kind: string, text: string): void {
    this.warnings.push(text);
  }
}
