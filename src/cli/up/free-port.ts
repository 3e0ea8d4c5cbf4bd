import { createServer, type Server } from 'node:net';

const HOST = '127.0.0.1';

/** Whether nobody listens there at this moment. */
export async function isFreePort(port: number): Promise<boolean> {
  const server = await listen(port).catch(() => undefined);
  await close(server);
  return server !== undefined;
}

/** Ports that nobody listens at, all different. */
export async function freePorts(count: number): Promise<number[]> {
  // All are held until the last is known.
  const servers = await Promise.all(Array.from({ length: count }, () => listen(0)));
  const ports = servers.map((server) => (server.address() as { readonly port: number }).port);
  await Promise.all(servers.map(close));
  return ports;
}

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host: HOST, exclusive: true }, () => resolve(server));
  });
}

function close(server: Server | undefined): Promise<unknown> {
  return new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
}
