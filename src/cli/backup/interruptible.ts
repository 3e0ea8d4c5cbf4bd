/** The first Ctrl-C or SIGTERM asks long work to end where it can be taken up again; `done` takes that back. */
export function interruptible(): { readonly signal: AbortSignal; readonly done: () => void } {
  const abort = new AbortController();
  const interrupt = (): void => abort.abort();
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  return {
    signal: abort.signal,
    done: () => {
      process.off('SIGINT', interrupt);
      process.off('SIGTERM', interrupt);
    },
  };
}
