// A real tus server with the shim that makes tusd's hooks of its events, and a real tus client.
//
// Owns one server, and what is asked for on stdin: `upload NAME TYPE BYTES` answers with
// the upload's id, `terminate ID` ends one; words are parted by tabs.
// Environment: NODE_MODULES, INTAKE (where hooks go), FOLDER (where uploads are kept).
import { createRequire } from 'node:module'
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const require = createRequire(path.join(process.env.NODE_MODULES, 'anchor.js'))
const load = (name) => import(pathToFileURL(require.resolve(name)))
const { Server } = await load('@tus/server')
const { FileStore } = await load('@tus/file-store')
const tus = require('tus-js-client')

const server = new Server({ path: '/files', datastore: new FileStore({ directory: process.env.FOLDER }) })
// shim begin
const hook = (Type, { id, size, offset, metadata, storage }) => fetch(process.env.INTAKE, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({ Type, Event: { Upload: {
    ID: id, Size: size, Offset: offset, MetaData: metadata,
    Storage: storage && { Type: storage.type, Path: storage.path } } } }),
})
server.on('POST_CREATE', (request, upload) => hook('post-create', { ...upload, offset: 0 }))
server.on('POST_FINISH', (request, response, upload) => hook('post-finish', upload))
server.on('POST_TERMINATE', (request, response, id) => hook('post-terminate', { id }))
// shim end

const http = server.listen({ host: '127.0.0.1', port: 0 })
await new Promise((resolve) => http.on('listening', resolve))
const endpoint = `http://127.0.0.1:${http.address().port}/files`

function upload(filename, filetype, bytes) {
  return new Promise((resolve, reject) => {
    const one = new tus.Upload(Buffer.alloc(bytes, 'x'), {
      endpoint,
      chunkSize: 64 * 1024,
      retryDelays: null,
      metadata: { filename, filetype, owner_id: 'user-67890' },
      onError: reject,
      onSuccess: () => resolve(one.url.split('/').pop()),
    })
    one.start()
  })
}

const verbs = {
  upload: (name, type, bytes) => upload(name, type, Number(bytes)),
  async terminate(id) {
    await tus.Upload.terminate(`${endpoint}/${id}`)
    return id
  },
}
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [verb, ...words] = line.split('\t')
  console.log(await verbs[verb](...words))
}
http.close()
