/** A broken promise inside Keyfleet. Never caught to carry on: the process that throws it must stop. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Stops when `condition` does not hold. `message` is computed only then. Kept in production. */
export function assert(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new InvariantError(message());
}

/** The end of a switch over a union that leaves nothing out. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable: ${JSON.stringify(value)}`);
}
