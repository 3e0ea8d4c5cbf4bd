/**
 * Where the answer to a submitted command goes: exactly one of the two is called for each submission, possibly before `submit` returns,
 * and not necessarily in the order of submission. By then the answer may be told: what it says is as durable as the store promises.
 * A sink and a number instead of a promise, because a door answers hundreds of thousands of commands a second.
 */
export interface ReplySink<T> {
  settled(token: number, reply: T): void;
  failed(token: number, error: Error): void;
}
