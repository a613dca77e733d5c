/** A promise of nothing together with what resolves it. */
export class Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;

  constructor() {
    let settle!: () => void;
    this.promise = new Promise<void>((resolve) => (settle = resolve));
    this.resolve = settle;
  }
}
