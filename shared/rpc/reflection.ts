import { type DescFile, type DescMessage, type DescService, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import {
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflection as V1,
} from "../gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as V1Alpha } from "../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { addService } from "./definition.ts";

type Question = ServerReflectionRequest["messageRequest"];
type Reply = Exclude<ServerReflectionResponse["messageResponse"], { case: undefined }>;
type ReplyInit = { readonly case: Reply["case"]; readonly value: Record<string, unknown> };

/**
 * Serves reflection, v1 and v1alpha, for `services` and all that they are made of. It reads the descriptors that are in
 * the generated code, so it works in a one-file executable. Serve it where only people and tools come.
 */
export function addReflection(server: grpc.Server, services: readonly DescService[]): void {
  const answer = reflectionOf([...services, V1, V1Alpha]);
  addService(server, V1, { serverReflectionInfo: (call) => converse(call, answer) });
  addService(server, V1Alpha, { serverReflectionInfo: (call) => converse(call, answer) });
}

/** The two versions differ in package only, so one conversation serves both. */
interface Conversation {
  on(event: "data", take: (request: { host: string; messageRequest: Question }) => void): unknown;
  on(event: "end" | "cancelled", run: () => void): unknown;
  once(event: "drain", run: () => void): unknown;
  write(response: object): boolean;
  pause(): unknown;
  resume(): unknown;
  end(): void;
}

function converse(call: unknown, answer: (question: Question) => ReplyInit): void {
  const stream = call as Conversation;
  stream.on("data", (request) => {
    // The request is sent back as plain fields: an unknown field in it must not travel on.
    const originalRequest = { host: request.host, messageRequest: request.messageRequest };
    const room = stream.write({
      validHost: request.host,
      originalRequest,
      messageResponse: answer(request.messageRequest),
    });
    if (room) return;
    stream.pause();
    stream.once("drain", () => stream.resume());
  });
  stream.on("end", () => stream.end());
}

/** Answers one question about the services. Pure. */
export function reflectionOf(services: readonly DescService[]): (question: Question) => ReplyInit {
  const files = filesOf(services);
  const symbols = symbolsOf([...files.values()]);
  const extensions = [...files.values()].flatMap((file) =>
    file.extensions.map((extension) => ({ type: extension.extendee.typeName, number: extension.number, file })),
  );
  return (question) => {
    switch (question.case) {
      case "listServices":
        return { case: "listServicesResponse", value: { service: services.map((s) => ({ name: s.typeName })) } };
      case "fileByFilename":
        return fileReply(files.get(question.value), `file ${question.value}`);
      case "fileContainingSymbol":
        return fileReply(symbols.get(question.value), `symbol ${question.value}`);
      case "fileContainingExtension": {
        const { containingType, extensionNumber } = question.value;
        const found = extensions.find(({ type, number }) => type === containingType && number === extensionNumber);
        return fileReply(found?.file, `extension ${extensionNumber} of ${containingType}`);
      }
      case "allExtensionNumbersOfType": {
        if (!symbols.has(question.value)) return notFound(`type ${question.value}`);
        const extensionNumber = extensions.filter(({ type }) => type === question.value).map(({ number }) => number);
        return { case: "allExtensionNumbersResponse", value: { baseTypeName: question.value, extensionNumber } };
      }
      default:
        return {
          case: "errorResponse",
          value: { errorCode: grpc.status.INVALID_ARGUMENT, errorMessage: "the request asks nothing known" },
        };
    }
  };
}

function fileReply(file: DescFile | undefined, what: string): ReplyInit {
  if (!file) return notFound(what);
  const bytes = toBinary(FileDescriptorProtoSchema, file.proto);
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto: [bytes] } };
}

function notFound(what: string): ReplyInit {
  const errorMessage = `not found: ${what.slice(0, 300)}`;
  return { case: "errorResponse", value: { errorCode: grpc.status.NOT_FOUND, errorMessage } };
}

/** Every file that the services reach through imports, by its name in import statements. */
function filesOf(services: readonly DescService[]): Map<string, DescFile> {
  const files = new Map<string, DescFile>();
  const walk = (file: DescFile): void => {
    if (files.has(file.proto.name)) return;
    files.set(file.proto.name, file);
    file.dependencies.forEach(walk);
  };
  for (const service of services) walk(service.file);
  return files;
}

/** Every full name that a file defines: messages, fields, enums, extensions, services, methods. */
function symbolsOf(files: readonly DescFile[]): Map<string, DescFile> {
  const symbols = new Map<string, DescFile>();
  for (const file of files) {
    const walk = (message: DescMessage): void => {
      symbols.set(message.typeName, file);
      for (const field of message.fields) symbols.set(`${message.typeName}.${field.name}`, file);
      for (const oneof of message.oneofs) symbols.set(`${message.typeName}.${oneof.name}`, file);
      for (const nested of [...message.nestedEnums, ...message.nestedExtensions]) symbols.set(nested.typeName, file);
      message.nestedMessages.forEach(walk);
    };
    file.messages.forEach(walk);
    for (const named of [...file.enums, ...file.extensions, ...file.services]) symbols.set(named.typeName, file);
    for (const service of file.services) {
      for (const method of service.methods) symbols.set(`${service.typeName}.${method.name}`, file);
    }
  }
  return symbols;
}
