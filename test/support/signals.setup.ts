// A signal to process 0 goes to the whole group of the sender: to the run itself, and to whoever has started it. A test that has read no
// process id yet would end everything without a word; it fails instead.
const send = process.kill.bind(process);

process.kill = (pid, signal) => {
  if (!Number.isInteger(pid) || pid === 0 || pid === -1)
    throw new Error(`no process has the id ${pid}: it is not there yet`);
  return send(pid, signal);
};
