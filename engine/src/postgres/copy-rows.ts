/**
 * COPY in both directions over an ordinary connection, as a stream: memory holds a batch of rows, whatever the table's size.
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY
 */
import { type EventEmitter, once } from 'node:events';
import type { Socket } from 'node:net';
import type pg from 'pg';
import { HelvinoError } from '../base/errors.ts';
import { queryError } from './sql.ts';

/** What `pg` calls on the query that is running, and what that may call. */
interface Wire {
  readonly stream: Pick<Socket, 'pause' | 'resume' | 'writableNeedDrain'> & EventEmitter;
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  sendCopyFail(message: string): void;
}

interface Submitted {
  submit(wire: Wire): void;
  handleError(error: Error): void;
  handleCommandComplete(message: { readonly text: string }): void;
  handleReadyForQuery(): void;
  handleRowDescription(): void;
  handleDataRow(): void;
  handleCopyInResponse(wire: Wire): void;
  handleCopyData(message: { readonly chunk: Buffer }, wire: Wire): void;
  handleEmptyQuery(): void;
  handlePortalSuspended(): void;
}

const batchBytes = 256 * 1024;

function submit(client: pg.Client, query: Partial<Submitted>, text: string): Promise<number> {
  return new Promise<number>((resolve, reject) => {
    let rows = 0;
    const nothing = () => undefined;
    const submitted: Submitted = {
      submit: (wire) => wire.query(text),
      handleRowDescription: nothing,
      handleDataRow: nothing,
      handleCopyInResponse: (wire) => wire.sendCopyFail('not expected'),
      handleCopyData: nothing,
      handleEmptyQuery: nothing,
      handlePortalSuspended: nothing,
      ...query,
      handleError(error) {
        query.handleError?.(error);
        reject(queryError(client, error));
      },
      handleCommandComplete(message) {
        rows = Number(/\d+$/.exec(message.text)?.[0] ?? 0);
      },
      handleReadyForQuery: () => resolve(rows),
    };
    client.query(submitted as unknown as pg.Submittable);
  });
}

/**
 * Runs `COPY … TO STDOUT`; `sink` gets whole rows, some hundred KiB at a time (or one row, if it is larger), in order, and
 * is waited for. Resolves to the number of rows. A failure of `sink` is thrown when the server has ended.
 */
export async function copyOut(
  client: pg.Client,
  text: string,
  sink: (rows: Buffer) => Promise<void> | void,
): Promise<number> {
  let batch = Buffer.allocUnsafe(batchBytes);
  let bytes = 0;
  let busy: Promise<void> = Promise.resolve();
  let pending = 0;
  let failure: { readonly thrown: unknown } | undefined;
  let wire: Wire | undefined;
  const send = (lines: Buffer) => {
    if (failure) return;
    pending++;
    wire?.stream.pause();
    busy = busy
      .then(() => (failure ? undefined : sink(lines)))
      .catch((thrown: unknown) => {
        failure ??= { thrown };
      })
      .then(() => {
        if (--pending === 0) wire?.stream.resume();
      });
  };
  const flush = () => {
    if (bytes > 0) send(batch.subarray(0, bytes));
    batch = Buffer.allocUnsafe(batchBytes);
    bytes = 0;
  };
  const rows = await submit(
    client,
    {
      handleCopyData({ chunk }, its) {
        wire = its;
        if (bytes + chunk.length > batchBytes) flush();
        // The chunk is a view into a buffer that is used again.
        if (chunk.length > batchBytes) return send(Buffer.from(chunk));
        chunk.copy(batch, bytes);
        bytes += chunk.length;
      },
    },
    text,
  );
  flush();
  await busy;
  if (failure) throw failure.thrown;
  return rows;
}

export interface CopyWriter {
  /** Any bytes: rows may be split. Resolves when more may come. Throws what the server answered. */
  write(bytes: Buffer): Promise<void>;
  /** The number of rows. */
  end(): Promise<number>;
  /** Has the server give the COPY up; never throws. */
  fail(): Promise<void>;
}

/** Runs `COPY … FROM STDIN`. */
export async function copyIn(client: pg.Client, text: string): Promise<CopyWriter> {
  const ready = Promise.withResolvers<Wire>();
  const done = submit(
    client,
    { handleCopyInResponse: (wire) => ready.resolve(wire), handleError: () => undefined },
    text,
  );
  let failure: unknown;
  done.catch((thrown: unknown) => {
    failure = thrown;
  });
  const wire = await Promise.race([
    ready.promise,
    done.then(() => {
      throw new HelvinoError('PROTOCOL', 'the server did not ask for the rows of a COPY');
    }),
  ]);
  return {
    async write(bytes) {
      if (failure !== undefined) throw failure;
      wire.sendCopyFromChunk(bytes);
      if (wire.stream.writableNeedDrain)
        // Ends early when the server has answered with an error, or the connection is gone.
        await Promise.race([once(wire.stream, 'drain'), done.then(() => undefined)]);
    },
    end() {
      if (failure === undefined) wire.endCopyFrom();
      return done;
    },
    async fail() {
      if (failure === undefined) wire.sendCopyFail('given up');
      await done.catch(() => undefined);
    },
  };
}
