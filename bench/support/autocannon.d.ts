// autocannon has no types of its own; this is what the benches use of it.
declare module 'autocannon' {
  interface Options {
    readonly url: string;
    readonly connections: number;
    /** How many requests to make. */
    readonly amount: number;
    /** Milliseconds between two looks at whether they have been made. */
    readonly sampleInt: number;
  }
  interface Result {
    readonly '2xx': number;
    readonly errors: number;
  }
  export default function autocannon(options: Options): Promise<Result>;
}
