// autocannon has no types; these are the parts that the benches use.
declare module 'autocannon' {
  interface Options {
    readonly url: string;
    readonly connections: number;
    /** How many requests to make. */
    readonly amount: number;
    /** Milliseconds between two checks whether they have been made. */
    readonly sampleInt: number;
  }
  interface Result {
    readonly '2xx': number;
    readonly errors: number;
  }
  export default function autocannon(options: Options): Promise<Result>;
}
