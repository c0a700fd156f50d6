"""Files of smaller precisions, each made from the fp32 graph, and the gate that judges them."""
