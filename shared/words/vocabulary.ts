/**
 * The words that a failure signature may hold. Whatever else a program prints, a name, a number, a path, a password, is left
 * out: what is not listed cannot leak. Words of failures and of the machine; add one when two failures cannot be told apart.
 */
const listed = `
a an and are as at be because before by can cant could couldnt did do does for found from had has have if in into is isnt it its
no none not nothing of off on only or other out over still than that the then there this to too under until up was were when while
will with within without would after again all already also any been being between both but during each every more most much must
never new next now old once one same second seconds should so some such

abnormal abort aborted aborting accept accepted access accessible acknowledged acquire acquired action active actor add address
administratively alive alloc allocate allocated allocation allow allowed annotation application argument arguments array assert
assertion async attempt attempts attribute auth authentication authorized await background backend backup bad balance batch
before begin bind binding block blocked body broken broker buffer bus busy byte bytes cache call callback called cancel canceled
cancelled cannot capacity certificate chain change changed channel check checkpoint checksum child circuit class client clock close
closed closing cluster code collection column command commit compaction compile complete completed concurrent condition config
configuration conflict connect connected connecting connection connections consumer container content context control coredump core
corrupt corrupted corruption could count cpu crash crashed create created critical current cycle daemon damaged data database dead
deadline deadlock debug decode decoding default delete deleted denied dependency deprecated descriptor descriptors destroyed detected
device died digest directory disabled disconnect disconnected disk dispatch dns domain down drop dropped dump dumped duplicate empty
enabled encode encoding end ended engine enough entity entry environment err error errors event exceed exceeded exception exec
executable execute execution exhausted exist existing exists exit exited expected expired export external fail failed failing fails
failure failures fatal fault fetch field file files filesystem flag flush foreign fork format forbidden frame free freed full
function future garbage gateway general get goroutine gone graceful group handle handler handling handshake hang header health
heap heartbeat host hostname http id idle illegal import incompatible incomplete inconsistent index init initialization initialize
initialized inode input insert instance instruction insufficient integer integrity interface internal interrupt interrupted invalid
invariant io ip issue iterator job json kernel kill killed kind lag language large late latency leader leak left length level library
license limit limits line link list listen listener listening load loaded loading local lock locked lock lookup loop lost low machine
main malformed map mapping mark master max maximum member memory message metadata method migration min minimum mismatch
missing mode module mount moved mutex name namespace negative network node null number object offline offset oom open opened opening
operation option order outage output overflow overloaded owner package packet page panic parameter parent parse parsed parser parsing
partition path peer pending permission permissions permitted pid pipe plugin point pointer policy pool port ports position possible
precondition preload present primary print priority privilege process processes produce producer program promise property protocol
provided proxy publish pull push query queue quorum quota race range rate raw reach reachable reached read reader reading ready
receive received recent record recover recovered recovery recursion redirect reference referenced refused register registered reject
rejected rejection relation release reload remote remove removed rename replay replica replication reply report request requests
require required reserved reset resolve resolved resource resources respond response restart restarting restore result resume retries
retry retrying return returned role rollback root route row rows run runner running runtime safe scheduled scheduler schema script
section segment segmentation segfault semaphore send sent sequence serialization serialize server service services set setting settings
setup shard shared shut shutdown shutting signal size slave sleep slot slow snapshot socket source space specified split stack stale
standby start started starting startup state statement static status stdin stdout stderr step stop stopped stopping storage store
stream string structure subscribe subscription success suspended swap symbol sync syntax system table target task temporary
terminate terminated terminating test thread threads throttled throw thrown time timed timeout timer times timestamp tls toolarge
topic trace tracker transaction transfer transport trap tree trigger trusted try trying type unable unauthorized unavailable
unbound uncaught undefined unexpected unhandled unique unit unknown unlock unmount unrecognized unreachable unresolved
unsupported update updated upgrade upstream uri url usage use used user using valid validate validation value values variable verify
version version violated violation volume wait waiting warning watch watchdog worker workers write writer writing wrong zero zombie
`;

/** Lower case. */
export const vocabulary: ReadonlySet<string> = new Set(listed.split(/\s+/).filter((word) => word !== ""));

/** A line with one of these is about a failure. */
export const alarming: ReadonlySet<string> = new Set(
  `abort aborted aborting assertion broken cannot cant corrupt corrupted corruption couldnt coredump crash crashed critical damaged
  deadlock denied died dump dumped err error errors exception exceeded exhausted expired fail failed failing fails failure failures
  fatal fault forbidden illegal insufficient invalid killed leak malformed mismatch missing oom overflow panic refused rejected
  segfault segmentation terminated timeout unable unauthorized unavailable uncaught unexpected unhandled unreachable violation wrong`.split(
    /\s+/,
  ),
);

/** Codes of the operating system, in capitals, and signals. */
export const codes: ReadonlySet<string> = new Set(
  `EACCES EADDRINUSE EADDRNOTAVAIL EAGAIN EALREADY EBADF EBUSY ECANCELED ECHILD ECONNABORTED ECONNREFUSED ECONNRESET EDEADLK
  EDESTADDRREQ EDQUOT EEXIST EFAULT EFBIG EHOSTDOWN EHOSTUNREACH EINTR EINVAL EIO EISCONN EISDIR ELOOP EMFILE EMLINK EMSGSIZE
  ENAMETOOLONG ENETDOWN ENETUNREACH ENFILE ENOBUFS ENODATA ENODEV ENOENT ENOEXEC ENOLCK ENOMEM ENOSPC ENOSYS ENOTCONN ENOTDIR
  ENOTEMPTY ENOTFOUND ENOTSOCK ENOTSUP ENXIO EOF EOPNOTSUPP EOVERFLOW EPERM EPIPE EPROTO EPROTONOSUPPORT ERANGE EROFS ESHUTDOWN ESPIPE
  ESRCH ESTALE ETIME ETIMEDOUT ETXTBSY EWOULDBLOCK EXDEV SIGABRT SIGALRM SIGBUS SIGFPE SIGHUP SIGILL SIGINT SIGKILL SIGPIPE SIGQUIT
  SIGSEGV SIGSYS SIGTERM SIGTRAP SIGXCPU SIGXFSZ`.split(/\s+/),
);

/** What follows one of these on a line may be a secret, in whatever words it is written. */
export const secretive =
  /passw|passphrase|passcode|pwd|secret|token|api.?key|keys?\W*$|private|credential|bearer|basic|authoriz|cookie|mnemonic|seed|pin\W*$/i;
