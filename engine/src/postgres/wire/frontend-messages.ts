/** What we send: https://www.postgresql.org/docs/current/protocol-message-formats.html */

export function queryMessage(sql: string): Buffer {
  return message('Q', Buffer.from(`${sql}\0`));
}

export function copyDataMessage(bytes: Uint8Array): Buffer {
  return message('d', bytes);
}

export const copyDoneMessage: Uint8Array = message('c', new Uint8Array(0));

export const terminateMessage: Uint8Array = message('X', new Uint8Array(0));

export interface WalPositions {
  readonly written: bigint;
  readonly flushed: bigint;
  readonly applied: bigint;
}

/**
 * "Standby status update" of https://www.postgresql.org/docs/current/protocol-replication.html, as CopyData. Zero positions
 * confirm nothing. `now`: milliseconds since 1970.
 */
export function standbyStatusMessage(
  { written, flushed, applied }: WalPositions,
  { now, reply }: { now: number; reply: boolean },
): Buffer {
  const body = Buffer.alloc(34);
  body.write('r', 0, 'latin1');
  body.writeBigUInt64BE(written, 1);
  body.writeBigUInt64BE(flushed, 9);
  body.writeBigUInt64BE(applied, 17);
  body.writeBigInt64BE((BigInt(now) - epoch) * 1000n, 25);
  body[33] = reply ? 1 : 0;
  return copyDataMessage(body);
}

/** 2000-01-01 in milliseconds since 1970. */
const epoch = 946_684_800_000n;

function message(type: string, body: Uint8Array): Buffer {
  const whole = Buffer.allocUnsafe(5 + body.length);
  whole.write(type, 0, 'latin1');
  whole.writeUInt32BE(4 + body.length, 1);
  whole.set(body, 5);
  return whole;
}
