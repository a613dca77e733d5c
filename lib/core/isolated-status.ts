import { catchError, concat, distinctUntilChanged, mergeMap, NEVER, Observable, of, ReplaySubject, share } from 'rxjs';
import { describe } from '../protocol/channel-name.js';
import { ConfigurationError, TransportUnavailableError } from '../protocol/errors.js';
import { isErrorOf, messageOf, thrownText } from '../protocol/thrown.js';
import type { Transport, TransportStatus } from './transport.js';

const STATES: readonly unknown[] = ['connecting', 'ready', 'waiting', 'closed'] satisfies TransportStatus['state'][];

/**
 * The status of an application's transport, held to its contract. All subscribers share one subscription, which stays. Each status comes
 * once, and late subscribers get the latest one. A value that is not a status is reported and skipped. A failure is reported once, and from
 * then on the link counts as lost.
 */
export function isolateStatus(
  transport: Pick<Transport, 'status'>,
  failed: (error: unknown) => void,
): Observable<TransportStatus> {
  // It is read when it is needed. RxJS takes what the subscription throws for an error of the stream.
  const reported = new Observable<unknown>((subscriber) => transport.status.subscribe(subscriber));
  return reported.pipe(
    mergeMap((given) => {
      const status = statusFrom(given);
      if (status !== undefined) return of(status);
      failed(
        new ConfigurationError(`it must be { state, error? }, one of ${STATES.join(', ')}, not ${described(given)}`),
      );
      return [];
    }),
    catchError((cause: unknown) => {
      failed(cause);
      const text = `The transport no longer tells its status: ${thrownText(cause)}`;
      return concat(
        of<TransportStatus>({ state: 'waiting', error: new TransportUnavailableError(text, { cause }) }),
        NEVER,
      );
    }),
    distinctUntilChanged((one, next) => one.state === next.state && one.error?.message === next.error?.message),
    share({
      connector: () => new ReplaySubject<TransportStatus>(1),
      resetOnError: false,
      resetOnComplete: false,
      resetOnRefCountZero: false,
    }),
  );
}

function statusFrom(given: unknown): TransportStatus | undefined {
  try {
    const { state, error } = given as { readonly state: unknown; readonly error?: unknown };
    if (!STATES.includes(state)) return undefined;
    const status = { state: state as TransportStatus['state'] };
    return error == null ? status : { ...status, error: errorFrom(error) };
  } catch {
    return undefined;
  }
}

/** With a text that everybody can read. */
function errorFrom(error: unknown): Error {
  if (isErrorOf(error, Error) && messageOf(error) !== undefined) return error;
  return new TransportUnavailableError(thrownText(error), { cause: error });
}

function described(given: unknown): string {
  try {
    const { state } = given as { readonly state: unknown };
    return `${describe(given)} with state ${describe(state)}`;
  } catch {
    return describe(given);
  }
}
