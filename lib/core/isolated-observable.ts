import {
  Observable,
  Subscriber,
  UnsubscriptionError,
  isObservable,
  type Observer,
  type Operator,
  type Subscription,
  type TeardownLogic,
} from 'rxjs';
import { isErrorOf } from '../protocol/thrown.js';

// oxlint-disable typescript/no-deprecated -- RxJS 7 has no other way to stand at the end of a chain, nor to follow operators

/** Told of what functions of the application throw. */
type Failed = (error: unknown) => void;

/**
 * The end of a chain of operators whose observer and teardowns are isolated. RxJS throws what an observer throws in a
 * later turn, where nobody can catch it, and what a teardown throws (`finalize`) at whoever ends the stream.
 */
export class IsolatedSubscriber<T> extends Subscriber<T> {
  constructor(
    private readonly observer: Partial<Observer<T>>,
    private readonly failed: Failed,
  ) {
    super();
  }

  override add(teardown: Parameters<Subscriber<T>['add']>[0]): void {
    // A teardown that comes after the end runs at once.
    this.run(() => super.add(teardown));
  }

  override unsubscribe(): void {
    this.run(() => super.unsubscribe());
  }

  protected override _next(value: T): void {
    const { observer } = this;
    try {
      observer.next?.(value);
    } catch (error) {
      this.failed(error);
    }
  }

  protected override _error(error: unknown): void {
    const { observer } = this;
    if (typeof observer.error === 'function') this.run(() => observer.error!(error));
    else this.failed(error);
    this.unsubscribe();
  }

  protected override _complete(): void {
    this.run(() => this.observer.complete?.());
    this.unsubscribe();
  }

  private run(call: () => void): void {
    try {
      call();
    } catch (error) {
      if (isErrorOf(error, UnsubscriptionError)) error.errors.forEach(this.failed);
      else this.failed(error);
    }
  }
}

/**
 * An Observable whose subscribers are isolated, those behind operators included: what their functions throw goes to
 * `failed`, never to the source and never to the process.
 */
export class IsolatedObservable<T> extends Observable<T> {
  constructor(
    private readonly failed: Failed,
    subscribe?: (subscriber: Subscriber<T>) => TeardownLogic,
  ) {
    super(subscribe);
  }

  override subscribe(...[observer, error, complete]: unknown[]): Subscription {
    // What an operator subscribes with passes on what comes, also one of another copy of RxJS.
    if (isSubscriber<T>(observer)) return super.subscribe(observer);
    const functions =
      typeof observer === 'object' && observer !== null ? observer : { next: observer, error, complete };
    return super.subscribe(new IsolatedSubscriber(functions, this.failed));
  }

  // What operators make of it is isolated, too.
  override lift<R>(operator?: Operator<T, R>): Observable<R> {
    const lifted = super.lift(operator);
    return new IsolatedObservable<R>(this.failed, (subscriber) => lifted.subscribe(subscriber));
  }
}

/** A stream that the application made or will subscribe to, with all of its functions isolated. */
export function isolateObservable<T>(source: Observable<T>, failed: Failed): Observable<T> {
  return new IsolatedObservable<T>(failed, (subscriber) =>
    source.subscribe(new IsolatedSubscriber<T>(subscriber, failed)),
  );
}

/** Isolates what a handler gave, if it is a stream or a promise of one. */
export function isolateResult(result: unknown, failed: Failed): unknown {
  if (isObservable(result)) return isolateObservable(result, failed);
  return result instanceof Promise ? result.then((value: unknown) => isolateResult(value, failed)) : result;
}

/** As RxJS tells them. */
function isSubscriber<T>(value: unknown): value is Subscriber<T> {
  if (value instanceof Subscriber) return true;
  if (typeof value !== 'object' || value === null || !('closed' in value)) return false;
  const methods = ['next', 'error', 'complete', 'add', 'remove', 'unsubscribe'] as const;
  return methods.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}
