import type { Gap } from '../core/gap.js';
import type { AnyListenableChannel } from '../protocol/channel.js';
import { checkMarkedChannel, MethodMarks } from './method-marks.js';

const CHANNELS = new MethodMarks<AnyListenableChannel>('@OnGap');

type GapMethodDecorator = <Method extends (gap: Gap) => unknown>(
  target: object,
  method: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
) => void;

/**
 * Calls a method of a provider or controller once for each loss: messages of the channel from other servers may be missing,
 * because this server did not hear the channel for a while. Use it to reload state that messages keep up to date.
 *
 * The call comes in the order of the messages: after those from before the loss, before those from after it. The class may be a
 * singleton or request-scoped (an instance and a session for each gap), the method inherited, the module lazy. Guards, pipes,
 * interceptors and filters do not apply. If it throws or rejects, the error is logged and reported.
 *
 * @example
 * ```ts
 * @OnGap(UserUpdates)
 * async reload({ reason }: Gap) {
 *   this.log(`updates may be missing (${reason})`);
 *   await repository.load();
 * }
 * ```
 */
export function OnGap(channel: AnyListenableChannel): GapMethodDecorator {
  return (target, method, descriptor) => {
    const { place, handler } = CHANNELS.methodOf(target, method, descriptor);
    checkMarkedChannel(channel, place);
    CHANNELS.add(handler, channel);
  };
}

/** The channels that a method is decorated with. */
export function gapChannelsOf(handler: Function): readonly AnyListenableChannel[] {
  return CHANNELS.of(handler);
}
