/** Throw-away servers: the past, running on a local port, to look into and copy from; nothing of them stays. */
export { type OpenedServer, openServer } from './server.ts';
