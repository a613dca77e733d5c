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
import { isThenable } from '../protocol/promises.js';
import { isErrorOf } from '../protocol/thrown.js';
import { reportRejection } from './isolate.js';

// oxlint-disable typescript/no-deprecated -- RxJS 7 has no other way to stand at the end of a chain, nor to follow operators

/** Receives errors that the application's functions throw, and rejections of their promises. */
export type Failed = (error: unknown) => void;

/** Returns the receiver for failures of the current call, including later rejections of its promise. */
export type Failing = () => Failed;

/**
 * The end of a chain of operators. Isolates its observer and teardowns. RxJS would throw an observer's error in a later turn, where
 * nobody can catch it, and a teardown's error (`finalize`) at the code that ends the stream.
 */
export class IsolatedSubscriber<T> extends Subscriber<T> {
  constructor(
    private readonly observer: Partial<Observer<T>>,
    private readonly failing: Failing,
  ) {
    super();
  }

  override add(teardown: Parameters<Subscriber<T>['add']>[0]): void {
    // A teardown that is added after the end runs at once.
    this.run(() => super.add(teardown));
  }

  override unsubscribe(): void {
    this.run(() => super.unsubscribe());
  }

  protected override _next(value: T): void {
    const { observer } = this;
    try {
      // RxJS ignores results, but the promise of an async function may reject.
      const result: unknown = observer.next?.(value);
      if (typeof result === 'object' && result !== null) this.follow(result);
    } catch (error) {
      this.failing()(error);
    }
  }

  protected override _error(error: unknown): void {
    const { observer } = this;
    if (typeof observer.error === 'function') this.run(() => observer.error!(error));
    else this.failing()(error);
    this.unsubscribe();
  }

  protected override _complete(): void {
    this.run(() => this.observer.complete?.());
    this.unsubscribe();
  }

  private run(call: () => unknown): void {
    try {
      const result = call();
      if (typeof result === 'object' && result !== null) this.follow(result);
    } catch (error) {
      const failed = this.failing();
      if (isErrorOf(error, UnsubscriptionError)) error.errors.forEach(failed);
      else failed(error);
    }
  }

  private follow(result: object): void {
    if (isThenable(result)) void reportRejection(result, this.failing());
  }
}

/**
 * An Observable that isolates its subscribers, including those behind operators: errors that their functions throw, and rejections of
 * their promises, go to the receiver that `failing` returns, never to the source or the process.
 */
export class IsolatedObservable<T> extends Observable<T> {
  constructor(
    private readonly failing: Failing,
    subscribe?: (subscriber: Subscriber<T>) => TeardownLogic,
  ) {
    super(subscribe);
  }

  override subscribe(...[observer, error, complete]: unknown[]): Subscription {
    // The subscriber of an operator passes messages on, even one of another copy of RxJS.
    if (isSubscriber<T>(observer)) return super.subscribe(observer);
    const functions =
      typeof observer === 'object' && observer !== null ? observer : { next: observer, error, complete };
    return super.subscribe(new IsolatedSubscriber(functions, this.failing));
  }

  // The results of operators are isolated too.
  override lift<R>(operator?: Operator<T, R>): Observable<R> {
    const lifted = super.lift(operator);
    return new IsolatedObservable<R>(this.failing, (subscriber) => lifted.subscribe(subscriber));
  }
}

/** Isolates all functions of a stream that the application made or will subscribe to. */
export function isolateObservable<T>(source: Observable<T>, failed: Failed): Observable<T> {
  const failing = (): Failed => failed;
  return new IsolatedObservable<T>(failing, (subscriber) =>
    source.subscribe(new IsolatedSubscriber<T>(subscriber, failing)),
  );
}

/** Isolates a handler's result if it is a stream, or a promise of one. */
export function isolateResult(result: unknown, failed: Failed): unknown {
  if (isObservable(result)) return isolateObservable(result, failed);
  return result instanceof Promise ? result.then((value: unknown) => isolateResult(value, failed)) : result;
}

/** Uses the same test as RxJS. */
function isSubscriber<T>(value: unknown): value is Subscriber<T> {
  if (value instanceof Subscriber) return true;
  if (typeof value !== 'object' || value === null || !('closed' in value)) return false;
  const methods = ['next', 'error', 'complete', 'add', 'remove', 'unsubscribe'] as const;
  return methods.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}
