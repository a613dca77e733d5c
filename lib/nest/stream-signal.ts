import * as common from '@nestjs/common';
import { isolateListeners } from '../core/isolated-signal.js';
import type { Reporter } from '../core/reporter.js';
import type { Session } from '../core/session.js';

/** Where Nest's `@SseSignal()` finds the controller of a request. Nest 11 has neither. */
const CONTROLLER = (common as { SSE_ABORT_CONTROLLER?: symbol }).SSE_ABORT_CONTROLLER;

/** The signal that Nest's `@SseSignal()` injects: aborted when the session of the request closes. Made when asked for. */
export class StreamSignal {
  private controller: AbortController | undefined = undefined;

  /** A parameter of no value of its own: once Nest has come to it, it finds a signal in the request. */
  static readonly provide = common.createParamDecorator((_data: unknown, context: common.ExecutionContext) => {
    const request = context.switchToHttp().getRequest<Record<symbol, unknown>>();
    if (CONTROLLER !== undefined) request[CONTROLLER] = new StreamSignal();
  });

  /** Has the signal of a request, where somebody asked for it, follow its session. To be called before the handler. */
  static follow(request: object, session: Session, reporter: Reporter): void {
    const own = CONTROLLER && (request as Record<symbol, unknown>)[CONTROLLER];
    if (!(own instanceof StreamSignal) || own.controller === undefined) return;
    const { controller } = own;
    isolateListeners(controller.signal, reporter, 'A listener of the signal of @SseSignal()');
    session.onClose(() => controller.abort());
  }

  get signal(): AbortSignal {
    return (this.controller ??= new AbortController()).signal;
  }
}
