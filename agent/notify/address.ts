/** Where a datagram goes: sockaddr_un of unix(7), on the little-endian machines that we run on. Pure. */

/** AF_UNIX of sys/socket.h. */
const familyUnix = 1;
/** sun_path has 108 bytes; a path needs one of them for its NUL, a name behind '@' gives its '@' for it. */
const nameBytesMax = 108;

/**
 * The address of `name`: an absolute path, or `@` and a name of the abstract kind. Undefined for anything else: too long,
 * a NUL inside, another kind of socket (`vsock:`).
 */
export function unixAddress(name: string): Buffer | undefined {
  const abstract = name.startsWith("@");
  if ((!abstract && !name.startsWith("/")) || name.length < 2 || name.includes("\0")) return undefined;
  // The first NUL says that the name is abstract; the one at its end that a path is over.
  const bytes = Buffer.from(abstract ? `\0${name.slice(1)}` : `${name}\0`);
  if (bytes.length > nameBytesMax) return undefined;
  const family = Buffer.alloc(2);
  family.writeUInt16LE(familyUnix);
  return Buffer.concat([family, bytes]);
}
