// Element types as the integers that attributes such as Cast's `to` hold: those of TensorProto.DataType.

export { codeOf as elementCode, dtypeOf as elementType } from '../onnx/types.js';
